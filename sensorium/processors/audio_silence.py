"""Silence at both ends of a sound, as librosa finds it, and the sound without it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.processors.audio_reader import AudioReader

FRAME, HOP = 2048, 512
"""Samples that a loudness is of, and between two of them: librosa's defaults."""

_AT_ONCE = 2048  # frames, which are 2**20 samples


def trim(reader: AudioReader, below_db: float | None) -> tuple[AudioReader, float]:
    """A sound without the silence at its ends, by the rule of `librosa.effects.trim`, read in pieces.

    Args:
        reader: the sound, at the rate of its recording.
        below_db: how many decibels below the loudest 2,048 samples what is left out is at least; None to leave
            nothing out.

    Returns:
        The sound, and when it begins in the one that was given, seconds.
    """
    if below_db is None:
        return reader, 0.0
    import librosa  # loads scipy and numba

    loud, samples = _loudness(reader)
    heard = np.flatnonzero(librosa.amplitude_to_db(loud, ref=np.max, top_db=None) > -below_db)
    first, last = int(heard[0]) * HOP, min(samples, (int(heard[-1]) + 1) * HOP)
    return _Stretch(reader, first, last), first / reader.rate


def _loudness(reader: AudioReader) -> tuple[NDArray[np.float32], int]:
    """The root mean square around each multiple of `HOP` samples, as `librosa.feature.rms` has it; and all samples."""
    import librosa

    pieces: list[NDArray[np.float32]] = []
    first = 0  # frame of the piece
    while True:
        begin = first * HOP - FRAME // 2
        before, wanted = max(-begin, 0), (_AT_ONCE - 1) * HOP + FRAME
        samples = reader.read(begin + before, wanted - before).numpy()
        ended = len(samples) < wanted - before
        end = begin + before + len(samples)
        count = end // HOP + 1 - first if ended else _AT_ONCE
        after = max(0, (count - 1) * HOP + FRAME - before - len(samples))
        padded = np.pad(samples, (before, after))
        pieces.append(librosa.feature.rms(y=padded, frame_length=FRAME, hop_length=HOP, center=False)[0, :count])
        if ended:
            return np.concatenate(pieces), end
        first += count


class _Stretch(AudioReader):
    """A part of another reader's sound."""

    def __init__(self, reader: AudioReader, first: int, last: int) -> None:
        self._reader, self._first, self._last = reader, first, last
        self.name, self.rate, self.channels = reader.name, reader.rate, reader.channels

    @property
    def frames(self) -> int:
        return self._last - self._first

    def read(self, start: int, count: int) -> Tensor:
        count = min(count, self.frames - start)
        return self._reader.read(self._first + start, count) if count > 0 else torch.zeros(0)

    def close(self) -> None:
        self._reader.close()
