"""Whatever a user calls a sound → mono samples: `load_audio` for all of them, `open_audio` to read them in pieces.

A sound is a path (`str` or `Path`), an http(s) URL, a `data:` URI, bytes, a binary file, a NumPy array or torch
tensor, a dict or tuple of an array and its rate, or a decoder of `datasets`. Files are WAV, FLAC, MP3, Ogg (Vorbis,
Opus) or AIFF. The header is checked against `MediaLimits` before a sample is decoded, and every fault is an
`InputError` or `LimitError` with a code. All of it is safe in several threads, with a reader for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sensorium.processors.audio_arrays import open_array
from sensorium.processors.audio_encoded import open_encoded
from sensorium.processors.audio_forms import from_decoder, from_mapping, is_with_rate
from sensorium.processors.audio_reader import AudioReader, read_all
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits

__all__ = ["AudioReader", "is_audio_batch", "load_audio", "open_audio", "read_all"]

_FORMS = "an array or tensor, a dict of an array and its sampling_rate, or a tuple of an array and its rate"


def open_audio(source: Any, *, limits: MediaLimits = DEFAULT_LIMITS, rate: int | None = None) -> AudioReader:
    """Open a sound to read it in pieces, in bounded memory if it is a file.

    Args:
        source: a path, an http(s) URL, a `data:` URI, bytes (or bytearray, memoryview), a binary file object (read from
            its start where it can seek); an array or tensor: `(N,)`, `(C, N)` or `(N, C)`, of which the shorter axis
            is taken for the channels, floating point as it is, integers as PCM; a dict: of `array` or `raw` and
            `sampling_rate`, of `waveform` and `sample_rate`, or of `bytes` or `path`; a tuple of an array and its rate,
            in either order; or a decoder with `get_all_samples()`, as `datasets` and torchcodec have it.
        limits: what the sound may cost, and where it may come from.
        rate: samples a second of a bare array, Hz. A dict has to bring its own.

    Raises:
        InputError: not a sound, or a damaged one; `code` says what is wrong.
        LimitError: a sound, or an address, beyond the limits.
    """
    if isinstance(source, Mapping):
        source, rate = from_mapping(source)
    elif is_with_rate(source):
        rate, source = source if isinstance(source[1], (np.ndarray, Tensor)) else source[::-1]
    elif callable(getattr(source, "get_all_samples", None)):
        source, rate = from_decoder(source)
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
    """Whether inputs are several sounds: a list or a tuple, but not one sound as a tuple of its array and its rate."""
    return isinstance(inputs, (list, tuple)) and not is_with_rate(inputs)
