"""Whatever a user calls a sound → mono samples: `load_audio` for all of them, `open_audio` to read them in pieces.

A sound is a path (`str` or `Path`), an http(s) URL, a `data:` URI, bytes, a binary file, a NumPy array or torch
tensor, or a dict of an array and its rate. Files are WAV, FLAC, MP3, Ogg (Vorbis, Opus) or AIFF. The header is checked
against `MediaLimits` before a sample is decoded, and every fault is an `InputError` or `LimitError` with a code. All of
it is safe in several threads, with a reader for each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.audio_files import AudioDecoder, check_finite
from sensorium.processors.audio_resampling import resampled_length, resampled_piece
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits
from sensorium.processors.media import describe, open_source

MAX_RATE = 1_000_000
_FORMS = "an array or tensor, or a dict of an array and its sampling_rate"
_PIECE = 2**20  # frames that are read at once


class AudioReader(ABC):
    """A sound that is read in pieces: mono, float32, in [-1, 1] if it was a file.

    A context manager. Reading forwards, also with overlap, is fast; going back is slow for MP3.

    Attributes:
        name: what to call it in a message.
        rate: samples a second.
        frames: how many samples it has; None until the end is reached, where the file's header does not say.
        channels: how many there were before they were mixed down to one, by their mean.
    """

    name: str
    rate: int
    channels: int

    @property
    @abstractmethod
    def frames(self) -> int | None:
        """How many samples there are, or None where that is not known yet."""

    @abstractmethod
    def read(self, start: int, count: int) -> Tensor:
        """Samples from `start` on.

        Args:
            start: the first one's number, from 0.
            count: how many.

        Returns:
            `(n,)` float32 on the CPU, shorter than `count` at the end; not to be written to.

        Raises:
            InputError: `truncated`, `corrupt`, `not-finite`, `unreadable-file`, raised at the piece where it shows.
            LimitError: `too-long`, where the header did not say.
        """

    def at(self, rate: int) -> AudioReader:
        """The same sound at another rate, resampled piece by piece; equal to the whole, resampled at once."""
        return self if rate == self.rate else _ResampledAudio(self, rate)

    @property
    def seconds(self) -> float | None:
        """How long it lasts, or None where that is not known yet."""
        return None if self.frames is None else self.frames / self.rate

    def close(self) -> None:  # noqa: B027 - an array has nothing to close
        """Closes what it holds open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
        return _AudioArray(source, rate, limits=limits)
    return _EncodedAudio(source, limits=limits)


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


def read_all(reader: AudioReader, *, max_samples: int | None = None) -> Tensor:
    """All samples of a reader, or the first `max_samples`: `(N,)` float32."""
    frames = reader.frames
    if frames is not None:
        return reader.read(0, frames if max_samples is None else min(frames, max_samples))
    pieces: list[Tensor] = []
    total = 0
    while max_samples is None or total < max_samples:
        piece = reader.read(total, _PIECE if max_samples is None else min(_PIECE, max_samples - total))
        if not len(piece):
            break
        pieces.append(piece)
        total += len(piece)
    return torch.cat(pieces)


def is_audio_batch(inputs: Any) -> bool:
    """Whether inputs are several sounds: a list or a tuple."""
    return isinstance(inputs, (list, tuple))


class _EncodedAudio(AudioReader):
    """An encoded sound. It keeps the last piece that was read, as windows overlap."""

    def __init__(self, source: Any, *, limits: MediaLimits) -> None:
        with ExitStack() as stack:
            stream, self.name = stack.enter_context(open_source(source, limits=limits, kind="sound", forms=_FORMS))
            self._decoder = AudioDecoder(stream, name=self.name, limits=limits)
            stack.callback(self._decoder.close)
            self.rate, self.channels = _checked_rate(self._decoder.rate, self.name), self._decoder.channels
            self._open = stack.pop_all()
        self._kept, self._kept_from = torch.zeros(0), 0

    @property
    def frames(self) -> int | None:
        return self._decoder.frames

    def read(self, start: int, count: int) -> Tensor:
        reused = self._kept[start - self._kept_from :][:count] if start >= self._kept_from else self._kept[:0]
        if len(reused) == count:
            return reused
        self._decoder.seek(start + len(reused))
        piece = self._decoder.read(count - len(reused))
        if len(reused):
            piece = torch.cat([reused, piece])
        self._kept, self._kept_from = piece, start
        return piece

    def close(self) -> None:
        self._open.close()


class _AudioArray(AudioReader):
    """An array."""

    def __init__(self, source: Any, rate: Any, *, limits: MediaLimits) -> None:
        self.name = describe(source)
        if rate is None:
            raise InputError(
                f'{self.name}: expected the rate of this array, got none. Pass {{"array": …, "sampling_rate": …}}.',
                code="missing-rate",
                source=self.name,
            )
        self.rate = _checked_rate(rate, self.name)
        samples = _channels_first(_as_tensor(source, self.name), limits, self.name)
        self.channels = len(samples)
        limits.check_sound(samples.shape[1], self.rate, self.channels, name=self.name)
        self._samples = (samples[0] if self.channels == 1 else samples.mean(0)).contiguous()
        check_finite(self._samples, name=self.name)

    @property
    def frames(self) -> int:
        return len(self._samples)

    def read(self, start: int, count: int) -> Tensor:
        return self._samples[start : start + count]


class _ResampledAudio(AudioReader):
    """Another reader's sound at another rate."""

    def __init__(self, reader: AudioReader, rate: int) -> None:
        self._reader, self.rate = reader, rate
        self.name, self.channels = reader.name, reader.channels

    @property
    def frames(self) -> int | None:
        frames = self._reader.frames
        return None if frames is None else resampled_length(frames, self._reader.rate, self.rate)

    def read(self, start: int, count: int) -> Tensor:
        return resampled_piece(self._reader.read, self._reader.rate, self.rate, start, count)

    def close(self) -> None:
        self._reader.close()


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


def _as_tensor(source: Any, name: str) -> Tensor:
    """Floating point as float32; integers as PCM, in [-1, 1)."""
    if isinstance(source, np.ndarray):
        if source.dtype.kind not in "iuf" or source.dtype.itemsize > 8:
            raise _bad_dtype(name, source.dtype)
        source = np.ascontiguousarray(source, dtype=source.dtype.newbyteorder("="))
        samples = torch.from_numpy(source if source.flags.writeable else source.copy())
    else:
        samples = source.detach().cpu()
    if samples.is_floating_point():
        return samples.to(torch.float32)
    if samples.dtype not in (torch.uint8, torch.int16, torch.int32):
        raise _bad_dtype(name, samples.dtype)
    if samples.dtype == torch.uint8:
        return (samples.to(torch.float32) - 128) / 128
    return samples.to(torch.float32) / (2**15 if samples.dtype == torch.int16 else 2**31)


def _channels_first(samples: Tensor, limits: MediaLimits, name: str) -> Tensor:
    """`(C, N)`: the shorter axis is the channels'."""
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2:
        raise InputError(
            f"{name}: expected shape (N,), (C, N) or (N, C), got {tuple(samples.shape)}. Several sounds are a list.",
            code="bad-shape",
            source=name,
        )
    if 0 in samples.shape:
        raise InputError(f"{name}: expected at least one sample, got none.", code="zero-sized", source=name)
    return samples if samples.shape[0] <= samples.shape[1] else samples.T


def _checked_rate(rate: Any, name: str) -> int:
    whole = isinstance(rate, (int, np.integer)) or (isinstance(rate, float) and rate.is_integer())
    if not whole or isinstance(rate, bool) or not 0 < rate <= MAX_RATE:
        raise InputError(
            f"{name}: expected a rate of 1 to {MAX_RATE:,} samples a second, got {rate!r}.",
            code="bad-rate",
            source=name,
        )
    return int(rate)


def _bad_dtype(name: str, dtype: object) -> InputError:
    return InputError(
        f"{name}: expected floating-point samples, or uint8, int16 or int32 PCM, got {dtype}. Cast them.",
        code="bad-dtype",
        source=name,
    )
