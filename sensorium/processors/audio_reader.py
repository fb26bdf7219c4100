"""A sound that is read in pieces, wherever it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.audio_resampling import resampled_length, resampled_piece

MAX_RATE = 1_000_000
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


def checked_rate(rate: Any, name: str) -> int:
    """A rate as an integer, Hz.

    Raises:
        InputError: `bad-rate`.
    """
    whole = isinstance(rate, (int, np.integer)) or (isinstance(rate, float) and rate.is_integer())
    if not whole or isinstance(rate, bool) or not 0 < rate <= MAX_RATE:
        raise InputError(
            f"{name}: expected a rate of 1 to {MAX_RATE:,} samples a second, got {rate!r}.",
            code="bad-rate",
            source=name,
        )
    return int(rate)


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
