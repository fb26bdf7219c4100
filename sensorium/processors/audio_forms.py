"""The forms in which other libraries hand over a sound: dicts, tuples and decoders, each with a rate of its own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sensorium.errors import InputError

_RATES = {  # an array's key: those that its rate may have
    "array": ("sampling_rate",),
    "raw": ("sampling_rate",),
    "waveform": ("sampling_rate", "sample_rate"),  # as pyannote has it
}
_SIMILAR = ("sample_rate", "samplerate", "sr", "rate", "fs", "framerate", "frame_rate", "freq", "hz")


def is_with_rate(source: Any) -> bool:
    """Whether this is a tuple of an array and its rate, in either order: Gradio's, or that of librosa and soundfile.

    It cannot be taken for two sounds, as a number is none.
    """
    if not isinstance(source, tuple) or len(source) != 2:
        return False
    kinds = [_kind(one) for one in source]
    return sorted(kinds) == ["array", "number"]


def from_mapping(source: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a dict of Transformers' pipelines, of a `datasets` column, or of pyannote holds: the sound, and its rate.

    Raises:
        InputError: `missing-rate`, an array without it; `unsupported-type`, neither an array nor a file.
    """
    for key, rate_keys in _RATES.items():
        samples = source.get(key)
        if samples is None:
            continue
        samples = np.asarray(samples) if isinstance(samples, (list, tuple)) else samples
        name = f"dict with {key!r}"
        if not isinstance(samples, (np.ndarray, Tensor)):
            raise InputError(
                f"{name}: expected an array or a tensor there, got {type(samples).__name__}.",
                code="unsupported-type",
                source=name,
            )
        rate = next((source[rate_key] for rate_key in rate_keys if source.get(rate_key) is not None), None)
        if rate is None:
            raise _without_rate(source, key)
        return samples, rate
    for key in ("bytes", "path"):
        if source.get(key) is not None:
            return source[key], None
    keys = ", ".join(repr(str(key)) for key in list(source)[:6])
    raise InputError(
        f"dict: expected 'array' (or 'raw') with 'sampling_rate', 'waveform' with 'sample_rate', or 'bytes' or 'path', "
        f"got the keys {keys or 'none'}.",
        code="unsupported-type",
        source="dict",
    )


def from_decoder(source: Any) -> tuple[Any, Any]:
    """What a decoder of `datasets` or torchcodec gives: `(C, N)` samples, and their rate.

    Raises:
        InputError: `corrupt`, it cannot decode its sound; `unsupported-type`, it gives something else.
    """
    name = f"{type(source).__name__} object"
    try:
        samples = source.get_all_samples()
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"{name}: expected a sound, but its decoder failed ({type(error).__name__}: {error}). Fetch it again, or "
            f"pass the file itself.",
            code="corrupt",
            source=name,
        ) from error
    data, rate = getattr(samples, "data", None), getattr(samples, "sample_rate", None)
    if not isinstance(data, (np.ndarray, Tensor)) or rate is None:
        raise InputError(
            f"{name}: expected get_all_samples() to give data and sample_rate, got {type(samples).__name__}. Pass the "
            f"samples as {{'array': …, 'sampling_rate': …}}.",
            code="unsupported-type",
            source=name,
        )
    return data, rate


def _kind(one: Any) -> str:
    if isinstance(one, (np.ndarray, Tensor)) and one.ndim:
        return "array"
    return "number" if isinstance(one, (int, float, np.integer, np.floating)) and not isinstance(one, bool) else "other"


def _without_rate(source: Mapping[str, Any], key: str) -> InputError:
    name = f"dict with {key!r}"
    others = [str(other) for other in source if other != key and other not in _RATES[key]]
    near = [other for other in others if other.lower() in _SIMILAR]
    near = near or difflib.get_close_matches("sampling_rate", others, n=1, cutoff=0.6)
    instead = f"none of that name, but {near[0]!r}" if near else "none"
    return InputError(
        f"{name}: expected 'sampling_rate', how many samples a second the array has, got {instead}. Pass "
        f"{{{key!r}: …, 'sampling_rate': 16_000}} with the rate of its recording: a guess would give wrong answers.",
        code="missing-rate",
        source=name,
    )
