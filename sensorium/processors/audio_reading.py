"""Whatever a user calls a sound → mono samples: `load_audio` for all of them, `open_audio` to read them in pieces.

A sound is a path (`str` or `Path`), an http(s) URL, a `data:` URI, bytes, a binary file, a NumPy array or torch
tensor, or a dict of an array and its rate. Files are WAV, FLAC, MP3, Ogg (Vorbis, Opus) or AIFF. The header is checked
against `MediaLimits` before a sample is decoded, and every fault is an `InputError` or `LimitError` with a code. All of
it is safe in several threads, with a reader for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.audio_arrays import open_array
from sensorium.processors.audio_encoded import open_encoded
from sensorium.processors.audio_reader import AudioReader, read_all
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits

__all__ = ["AudioReader", "is_audio_batch", "load_audio", "open_audio", "read_all"]

_FORMS = "an array or tensor, or a dict of an array and its sampling_rate"


def open_audio(source: Any, *, limits: MediaLimits = DEFAULT_LIMITS, rate: int | None = None) -> AudioReader:
    """Open a sound to read it in pieces, in bounded memory if it is a file.

    Args:
        source: a path, an http(s) URL, a `data:` URI, bytes (or bytearray, memoryview), a binary file object (read from
            its start where it can seek); an array or tensor: `(N,)`, `(C, N)` or `(N, C)`, of which the shorter axis
            is taken for the channels, floating point as it is, integers as PCM; or a dict: of `array` or `raw` and
            `sampling_rate`, or of `bytes` or `path`.
        limits: what the sound may cost, and where it may come from.
        rate: samples a second of an array that comes without a `sampling_rate`, Hz.

    Raises:
        InputError: not a sound, or a damaged one; `code` says what is wrong.
        LimitError: a sound, or an address, beyond the limits.
    """
    if isinstance(source, Mapping):
        source, rate = _from_mapping(source, rate)
    if isinstance(source, (np.ndarray, Tensor)):
        return open_array(source, rate, limits=limits)
    return open_encoded(source, limits=limits, forms=_FORMS)


def load_audio(
    source: Any, *, limits: MediaLimits = DEFAULT_LIMITS, rate: int | None = None, max_samples: int | None = None
) -> tuple[Tensor, int]:
    """Read one sound, mixed down to mono.

    Args:
        source: anything that `open_audio` takes.
        limits: as in `open_audio`.
        rate: as in `open_audio`.
        max_samples: samples to stop after; None for all.

    Returns:
        `(N,)` float32 on the CPU, not to be written to, and its rate in Hz.

    Raises:
        InputError: as `open_audio` and `AudioReader.read`.
        LimitError: as `open_audio` and `AudioReader.read`.
    """
    with open_audio(source, limits=limits, rate=rate) as reader:
        return read_all(reader, max_samples=max_samples), reader.rate


def is_audio_batch(inputs: Any) -> bool:
    """Whether inputs are several sounds: a list or a tuple."""
    return isinstance(inputs, (list, tuple))


def _from_mapping(source: Mapping[str, Any], rate: int | None) -> tuple[Any, Any]:
    """What a dict of Transformers' pipelines, or of a `datasets` column, holds: the sound, and its rate."""
    for key in ("raw", "array"):
        samples = source.get(key)
        if samples is not None:
            samples = np.asarray(samples) if isinstance(samples, (list, tuple)) else samples
            if not isinstance(samples, (np.ndarray, Tensor)):
                name = f"dict with {key!r}"
                raise InputError(
                    f"{name}: expected an array or a tensor there, got {type(samples).__name__}.",
                    code="unsupported-type",
                    source=name,
                )
            return samples, source.get("sampling_rate", rate)
    for key in ("bytes", "path"):
        if source.get(key) is not None:
            return source[key], rate
    keys = ", ".join(repr(str(key)) for key in list(source)[:6])
    raise InputError(
        f"dict: expected 'array' (or 'raw') with 'sampling_rate', or 'bytes' or 'path', got the keys {keys or 'none'}.",
        code="unsupported-type",
        source="dict",
    )
