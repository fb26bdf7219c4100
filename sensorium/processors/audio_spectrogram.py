"""How loud a sound is at each moment and pitch, as a picture shows it: librosa's mel spectrogram, read in pieces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.processors.audio_reading import open_audio
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits

RANGE_DB = 80.0
"""What is this far below the loudest is as quiet as silence."""

_AT_ONCE = 1024  # spectra


@dataclass(frozen=True)
class MelSpectrogram:
    """A sound's mel spectrogram.

    Attributes:
        levels: `(bands, columns)` float32 in [-80, 0], decibels below the loudest; low pitches first.
        seconds: how long the sound lasts.
        rate: of its samples, Hz; the highest pitch is half of it.
    """

    levels: NDArray[np.float32]
    seconds: float
    rate: int

    def band_of(self, hertz: float) -> float:
        """Where a pitch lies among the bands, counted from the lowest, which may be between two of them."""
        import librosa

        top = librosa.hz_to_mel(self.rate / 2)
        return float(librosa.hz_to_mel(hertz) / top * len(self.levels) - 0.5)


def mel_spectrogram(
    source: Any, *, columns: int, bands: int, rate: int | None = None, limits: MediaLimits = DEFAULT_LIMITS
) -> MelSpectrogram:
    """Computes the spectrogram of a sound, each column the mean of the spectra that fall into it.

    Args:
        source: anything that `open_audio` takes.
        columns: how many moments, at least 1.
        bands: how many pitches.
        rate: samples a second of a bare array, Hz.
        limits: what the sound may cost.

    Raises:
        InputError: it is no sound, or a damaged one.
        LimitError: it is beyond the limits.
    """
    import librosa  # loads scipy and numba

    with open_audio(source, limits=limits, rate=rate) as reader:
        samples = _length(reader)
        points = max(256, 2 ** round(math.log2(reader.rate / 20)))  # about a twentieth of a second, as librosa's
        hop = int(np.clip(samples // max(columns - 1, 1), 1, points // 4))
        filters = librosa.filters.mel(sr=reader.rate, n_fft=points, n_mels=bands)
        spectra = samples // hop + 1
        sums, counts = np.zeros((bands, columns)), np.zeros(columns)
        for first in range(0, spectra, _AT_ONCE):
            count = min(_AT_ONCE, spectra - first)
            begin, wanted = first * hop - points // 2, (count - 1) * hop + points
            before = max(-begin, 0)
            piece = reader.read(begin + before, wanted - before).numpy()
            padded = np.pad(piece, (before, wanted - before - len(piece)))
            power = np.abs(librosa.stft(padded, n_fft=points, hop_length=hop, center=False)) ** 2
            places = np.arange(first, first + count) * columns // spectra
            np.add.at(sums.T, places, (filters @ power).T)
            np.add.at(counts, places, 1)
        # of a sound shorter than the picture is wide, columns without a spectrum repeat the one before
        kept = np.maximum.accumulate(np.where(counts > 0, np.arange(columns), 0))
        power = sums[:, kept] / np.maximum(counts[kept], 1)
        loudest = max(float(power.max()), 1e-10)  # of silence nothing is loud
        levels = librosa.power_to_db(power, ref=loudest, amin=loudest * 10 ** (-RANGE_DB / 10), top_db=None)
        levels = levels.astype(np.float32)
        return MelSpectrogram(levels, samples / reader.rate, reader.rate)


def _length(reader: Any) -> int:
    """How many samples a sound has, which some files tell at their end only."""
    count = 0
    while reader.frames is None and (more := len(reader.read(count, 2**20))):
        count += more
    return count if reader.frames is None else reader.frames
