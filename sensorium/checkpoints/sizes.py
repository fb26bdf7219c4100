"""What the small files of a checkpoint may ask for: numbers beyond these are a mistake or an attack.

They are looked at before any library is, since many build something of a size that they read: a name for each of 10^9
labels, a layer for each of 10^5, a filter bank for each rate. What a model takes beside its weights is bounded where it
is built, by the weights that are there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sensorium.checkpoints.config import MAX_JSON_BYTES, parse_json
from sensorium.errors import CheckpointError, UnsafeCheckpointError

MODEL, WRITING = "config.json", "generation_config.json"
MEDIA = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
TEXTS = "tokenizer_config.json"
FILES = (MODEL, WRITING, *MEDIA, TEXTS)
"""The files that are looked at, as far as there are any."""

_MAX_MEDIA_BYTES = 4 * 2**20  # the largest there are hold a filter bank, in half a megabyte
_MAX_LISTED = 1_000  # means and deviations, one a channel
_DEEPEST = 32  # objects in objects; configs of models in models have four


@dataclass(frozen=True)
class _Bound:
    """What entries of some names may be: numbers, alone or in lists, of which each is at most `most`.

    Attributes:
        names: of the entries, as a pattern.
        most: of a number.
        least: of a number; None for any.
        whole: whether nothing else will do, be it a text or a fraction.
    """

    names: re.Pattern[str]
    most: int
    least: int | None = None
    whole: bool = False

    def broken_by(self, value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(self.broken_by(one) for one in value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self.whole and isinstance(value, str)
        within = value <= self.most and (self.least is None or value >= self.least)  # NaN is neither
        return not within or (self.whole and value != int(value))

    def __str__(self) -> str:
        least = "" if self.least is None else f"from {self.least} "
        return f"{'whole ' * self.whole}numbers {least}to {self.most:,}"


def _bound(names: str, most: int, least: int | None = None, *, whole: bool = False) -> _Bound:
    return _Bound(re.compile(names), most, least, whole)


_whole = partial(_bound, whole=True)


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
    _whole("sampling_rate", 1_000_000, 1_000),
    _whole("n_fft|fft_window_size|win_length|frame_length", 32_768, 1),
    _whole("feature_size|num_mel_bins|num_mel_filters", 1_024, 1),  # times n_fft is what filters take
    _whole("hop_length", 131_072, 1),
    _bound("chunk_length|chunk_length_s|max_length_s", 3_600, 0),
    _whole("n_samples|nb_max_samples|nb_frequency_bins|nb_max_frames", 2**25, 0),
    _whole("max_length|num_frames|max_image_tiles|max_patches|max_num_patches|max_crops|num_crops", 1_000_000, 0),
    _whole("image_seq_length|image_seq_len|num_additional_image_tokens", 1_000_000, 0),
    _bound("resample", 5, 0),
    _whole(
        "height|width|max_height|max_width|crop_size|pad_size|size_divisor|patch_size|ensure_multiple_of", 16_384, 0
    ),
    _whole("size|shortest_edge|longest_edge|min_pixels|max_pixels", 2**25, 0),  # Qwen's edges are areas
)
_OF_FILE = {MODEL: _OF_MODELS + _OF_WRITING, WRITING: _OF_WRITING, TEXTS: (), **dict.fromkeys(MEDIA, _OF_MEDIA)}

_OBJECTS = {MODEL: ("id2label", "label2id", "pretrained_cfg", "quantization_config", "text_config", "vision_config",
                    "audio_config", "decoder", "encoder", "task_specific_params")}  # fmt: skip
_KERNELS = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal", "_experts_implementation",
            "experts_implementation", "_attn_implementation_autoset")  # fmt: skip


def check_files(folder: Path, *, of: str, own_code: bool) -> None:
    """Looks at the numbers in a checkpoint's small files, before anything is made of them.

    A file that is not JSON is told of where it is needed, and so is a large one of a tokenizer.

    Args:
        folder: the checkpoint's.
        of: its name, for the errors.
        own_code: whether code may be fetched for it.

    Raises:
        CheckpointError: an entry asks for more than any model has, is of another type, or is no number where it should
            be one; names the file and the entry. Or a file is larger than any.
        UnsafeCheckpointError: it names code to be fetched.
    """
    for name in FILES:
        path = folder / name
        if not path.is_file() or (name == TEXTS and path.stat().st_size > MAX_JSON_BYTES):
            continue
        most = _MAX_MEDIA_BYTES if name in MEDIA else MAX_JSON_BYTES
        if path.stat().st_size > most:
            raise CheckpointError(
                f"{of!r}: {name} should be at most {most // 2**20} MiB, and has {path.stat().st_size:,} bytes. It is "
                "damaged or not a configuration; get the checkpoint again from its source."
            )
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
                raise _wrong(of, file, path, str(bound), value)
        if key in objects and value is not None and not isinstance(value, (Mapping, str)):
            raise _wrong(of, file, path, "an object", value)
        if key in ("id2label", "label2id") and isinstance(value, str):
            raise _wrong(of, file, path, "an object", value)
        if key in _KERNELS and isinstance(value, str) and "/" in value and not own_code:
            raise UnsafeCheckpointError(
                f"{of!r}: {path} in {file} names a kernel to be fetched from the Hub, {value[:80]!r}, which is code. "
                "Remove that entry, or pass trust_remote_code=True if you trust it."
            )
        expected = _EXPECTED[file](key, value) if file in _EXPECTED else None
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


def _expected_number(key: str, value: Any) -> str | None:
    """What an entry of a processor should be that a library would take as it is; None where it is."""
    if key.endswith(("mean", "std")) and isinstance(value, list) and len(value) > _MAX_LISTED:
        return f"at most {_MAX_LISTED:,} numbers"
    listed = value if isinstance(value, list) else [value]
    if not all(math.isfinite(one) for one in listed if isinstance(one, float)):
        return "numbers that are finite"
    return None


_EXPECTED = {TEXTS: _expected_text, **dict.fromkeys(MEDIA, _expected_number)}


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
