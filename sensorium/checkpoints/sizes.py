"""What the small files of a checkpoint may ask for: numbers beyond these are a mistake or an attack.

They are looked at before any library is, since many build something of a size that they read: a name for each of 10^9
labels, a layer for each of 10^5, a filter bank for each rate. What a model takes beside its weights is bounded where it
is built, by the weights that are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.checkpoints.config import MAX_JSON_BYTES, parse_json
from sensorium.errors import CheckpointError, UnsafeCheckpointError

MODEL, WRITING = "config.json", "generation_config.json"
MEDIA = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
TEXTS = "tokenizer_config.json"
FILES = (MODEL, WRITING, *MEDIA, TEXTS)
"""The files that are looked at, as far as there are any."""

_DEEPEST = 32  # objects in objects; configs of models in models have four


@dataclass(frozen=True)
class _Bound:
    """What entries of some names may be: whole numbers, alone or in lists, of which each is at most `most`."""

    names: re.Pattern[str]
    most: int
    least: int | None = None

    def broken_by(self, value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(self.broken_by(one) for one in value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return not (value <= self.most and (self.least is None or value >= self.least))  # NaN is neither


def _bound(names: str, most: int, least: int | None = None) -> _Bound:
    return _Bound(re.compile(names), most, least)


_OF_MODELS = (
    _bound("(num|n)_(labels|classes)|num_local_experts|num_experts", 1_000_000),
    _bound(r"(.*_)?(layers?|blocks?|depths?|stages?|codebooks?|registers?|register_tokens)", 10_000),
    _bound(r"(.*_)?(image|img|input|crop|pad)_size", 16_384),
    _bound(
        r"(.*_)?(size|dim|dims|width|channels|features|heads|vocab|rank|experts|queries|positions|embeddings)", 2**28
    ),
    _bound(r"(.*_)?sampling_rate", 1_000_000),
)
_OF_WRITING = (
    _bound("num_beams|num_beam_groups|num_return_sequences|top_k_beams|prompt_lookup_num_tokens", 1_000),
    _bound("(max|min)_(new_tokens|length)|num_assistant_tokens|no_repeat_ngram_size", 10_000_000),
)
_OF_MEDIA = (
    _bound("sampling_rate", 1_000_000, 1),
    _bound("n_fft|fft_window_size|win_length|frame_length", 131_072, 1),
    _bound("hop_length|feature_size|num_mel_bins|num_mel_filters", 131_072, 1),
    _bound("chunk_length|chunk_length_s|max_length_s", 3_600, 0),
    _bound("n_samples|nb_max_samples|nb_frequency_bins|nb_max_frames", 2**25, 0),
    _bound("max_length|num_frames|max_image_tiles|max_patches|max_num_patches|max_crops|num_crops", 1_000_000, 0),
    _bound("image_seq_length|image_seq_len|num_additional_image_tokens", 1_000_000, 0),
    _bound("resample", 5, 0),
    _bound(
        "height|width|max_height|max_width|crop_size|pad_size|size_divisor|patch_size|ensure_multiple_of", 16_384, 0
    ),
    _bound("size|shortest_edge|longest_edge|min_pixels|max_pixels", 2**25, 0),  # Qwen's edges are areas
)
_OF_FILE = {MODEL: _OF_MODELS + _OF_WRITING, WRITING: _OF_WRITING, TEXTS: (), **dict.fromkeys(MEDIA, _OF_MEDIA)}

_OBJECTS = {MODEL: ("id2label", "label2id", "pretrained_cfg", "quantization_config", "text_config", "vision_config",
                    "audio_config", "decoder", "encoder", "task_specific_params")}  # fmt: skip
_KERNELS = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal", "_experts_implementation",
            "experts_implementation", "_attn_implementation_autoset")  # fmt: skip


def check_files(folder: Path, *, of: str, own_code: bool) -> None:
    """Looks at the numbers in a checkpoint's small files, before anything is made of them.

    A file that cannot be read is told of where it is needed.

    Args:
        folder: the checkpoint's.
        of: its name, for the errors.
        own_code: whether code may be fetched for it.

    Raises:
        CheckpointError: an entry asks for more than any model has, or is of another type; names the file and the entry.
        UnsafeCheckpointError: it names code to be fetched.
    """
    for name in FILES:
        path = folder / name
        if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
            continue
        try:
            content = parse_json(path, of=of)
        except CheckpointError:
            continue
        if isinstance(content, Mapping):
            check_entries(content, file=name, of=of, own_code=own_code)


def check_entries(content: Mapping[str, Any], *, file: str, of: str, own_code: bool = False) -> None:
    """As `check_files`, for what one of them holds."""
    bounds, objects = _OF_FILE[file], _OBJECTS.get(file, ())
    for path, key, value in _entries(content, file=file, of=of):
        for bound in bounds:
            if bound.names.fullmatch(key) and bound.broken_by(value):
                least = "" if bound.least is None else f"from {bound.least} "
                raise _wrong(of, file, path, f"numbers {least}to {bound.most:,}", value)
        if key in objects and value is not None and not isinstance(value, (Mapping, str)):
            raise _wrong(of, file, path, "an object", value)
        if key in ("id2label", "label2id") and isinstance(value, str):
            raise _wrong(of, file, path, "an object", value)
        if key in _KERNELS and isinstance(value, str) and "/" in value and not own_code:
            raise UnsafeCheckpointError(
                f"{of!r}: {path} in {file} names a kernel to be fetched from the Hub, {value[:80]!r}, which is code. "
                "Remove that entry, or pass trust_remote_code=True if you trust it."
            )
        if file == TEXTS:
            expected = _expected_text(key, value)
            if expected is not None:
                raise _wrong(of, file, path, expected, value)


def _expected_text(key: str, value: Any) -> str | None:
    """What an entry should be that is asked for while a tokenizer runs; None where it is."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if key == "model_max_length" and value is not None and not (number and value > 0):
        return "a number above 0"
    if key in ("padding_side", "truncation_side") and value not in (None, "left", "right"):
        return '"left" or "right"'
    return None


def _entries(
    content: Mapping[str, Any], *, file: str, of: str, above: str = "", depth: int = 0
) -> Iterator[tuple[str, str, Any]]:
    """The dotted path, the name and the value of each entry, those of objects in it among them."""
    if depth > _DEEPEST:
        raise CheckpointError(f"{of!r}: {file} has objects in objects in {_DEEPEST} levels at {above[:80]!r}.")
    for key, value in content.items():
        path = f"{above}.{key}" if above else key
        yield path, key, value
        if key in ("id2label", "label2id", "added_tokens_decoder"):
            continue
        for one in value if isinstance(value, list) and len(value) < 100 else [value]:
            if isinstance(one, Mapping):
                yield from _entries(one, file=file, of=of, above=path, depth=depth + 1)


def _wrong(of: str, file: str, path: str, expected: str, got: Any) -> CheckpointError:
    shown = repr(got)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}…"
    return CheckpointError(f"{of!r}: {path[:120]} in {file} should be {expected}, got {shown}. Correct that entry.")
