"""The recipes of Transformers' feature extractors for sound, as batched tensor operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from sensorium.processors.spectra import decibel_mel, kaldi_fbank, kaldi_frames, log_mel, normalise, pad_to


class UnreadFeatures(Exception):  # noqa: N818 - no error: the caller goes on with the extractor itself
    """A feature extractor, or a setting of one, whose arithmetic is not known here."""


class Features(ABC):
    """What an extractor computes.

    Attributes:
        input_names: the model's inputs that it gives.
        min_samples: how few samples are too few to compute anything.
        max_samples: samples that the model hears at most; None for all.
    """

    input_names: ClassVar[tuple[str, ...]]
    min_samples: int = 1
    max_samples: int | None = None

    @abstractmethod
    def finish(self, samples: Tensor, real: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Compute the model's inputs, row by row as if it were alone.

        Args:
            samples: `(B, N)` float32 at the model's rate, zeros where padded.
            real: `(B, N)` bool, false where padded.
            lengths: `(B,)` int64, how many are real.
        """


@dataclass(frozen=True)
class Waveform(Features):
    """The samples themselves, normalised if so trained (Wav2Vec2FeatureExtractor)."""

    input_names = ("input_values", "attention_mask")
    normalised: bool

    def finish(self, samples: Tensor, real: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """`input_values` and `attention_mask`, `(B, N)` both."""
        values = normalise(samples, real) if self.normalised else samples
        return {"input_values": values, "attention_mask": real.to(torch.int64)}


@dataclass(frozen=True)
class FilterBank(Features):
    """Kaldi's filter bank, a fixed number of frames (ASTFeatureExtractor).

    Attributes:
        rate: Hz.
        mel_bins: filters.
        frames: how many, cut, or padded with zeros.
        mean: subtracted from the result.
        deviation: the result is divided by twice of it; None if it is not normalised.
    """

    input_names = ("input_values",)
    rate: int
    mel_bins: int
    frames: int
    mean: float
    deviation: float | None

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """One frame."""
        return int(self.rate * 25.0 * 0.001)

    @property
    def max_samples(self) -> int:  # type: ignore[override]
        """All frames."""
        return self.min_samples + (self.frames - 1) * int(self.rate * 10.0 * 0.001)

    def finish(self, samples: Tensor, real: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """`input_values`, `(B, frames, mel_bins)`."""
        samples = pad_to(samples, max(samples.shape[1], self.min_samples), axis=1)
        energies = kaldi_fbank(samples, rate=self.rate, mel_bins=self.mel_bins)
        whole = torch.arange(energies.shape[1], device=samples.device) < kaldi_frames(lengths, self.rate)[:, None]
        energies = pad_to(torch.where(whole[:, :, None], energies, 0.0), self.frames, axis=1)
        return {"input_values": energies if self.deviation is None else (energies - self.mean) / (self.deviation * 2)}


@dataclass(frozen=True)
class LogMel(Features):
    """Whisper's log-mel spectrum of a window of fixed length (WhisperFeatureExtractor).

    Attributes:
        filters: `(1 + points // 2, bins)` float32.
        points: of the Fourier transform, samples.
        hop: from frame to frame, samples.
        max_samples: the window, samples; padded with silence.
    """

    input_names = ("input_features",)
    filters: Tensor = field(repr=False, compare=False)
    points: int
    hop: int
    max_samples: int

    def finish(self, samples: Tensor, real: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """`input_features`, `(B, bins, max_samples // hop)`."""
        samples = pad_to(samples, self.max_samples, axis=1)
        return {"input_features": log_mel(samples, self.filters, points=self.points, hop=self.hop)}


@dataclass(frozen=True)
class FusedMel(Features):
    """CLAP's log-mel spectrum in decibels of a window of fixed length, which a short sound fills by repeating itself.

    A longer sound is cut to its first window, where the extractor takes one at random, or three with a survey of the
    whole. A model that fuses such parts gets the one spectrum four times and is told that the sound is long, as the
    extractor tells it of any sound that comes alone.

    Attributes:
        filters: `(1 + points // 2, bins)` float32.
        points: of the Fourier transform, samples.
        hop: from frame to frame, samples.
        fill: "repeatpad" repeats the sound as often as it fits and goes on with zeros, "repeat" cuts the last one,
            "pad" pads with zeros.
        fused: whether the model fuses parts.
        max_samples: the window, samples.
    """

    input_names = ("input_features", "is_longer")
    filters: Tensor = field(repr=False, compare=False)
    points: int
    hop: int
    fill: str
    fused: bool
    max_samples: int

    def finish(self, samples: Tensor, real: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """`input_features`, `(B, 4 or 1, 1 + max_samples // hop, bins)`, and `is_longer`, `(B, 1)` bool."""
        places = torch.arange(self.max_samples, device=samples.device)
        times = (
            self.max_samples // lengths
            if self.fill == "repeatpad"
            else self.max_samples
            if self.fill == "repeat"
            else 1
        )
        heard = places < (lengths * times)[:, None]
        samples = torch.where(heard, samples.gather(1, places % lengths[:, None]), 0.0)
        mel = decibel_mel(samples, self.filters, points=self.points, hop=self.hop)[:, None]
        longer = torch.full((len(samples), 1), self.fused, device=samples.device)
        return {"input_features": mel.expand(-1, 4 if self.fused else 1, -1, -1), "is_longer": longer}


def read_features(extractor: Any) -> Features:
    """Read the recipe of a loaded Transformers feature extractor.

    Raises:
        Unread: it is unknown, or a setting makes it differ.
    """
    name = type(extractor).__name__
    readers = {
        "Wav2Vec2FeatureExtractor": _wave,
        "ASTFeatureExtractor": _filter_bank,
        "WhisperFeatureExtractor": _mel,
        "ClapFeatureExtractor": _fused_mel,
    }
    if name not in readers or not type(extractor).__module__.startswith("transformers.models."):
        raise UnreadFeatures("an unknown kind")
    if getattr(extractor, "padding_side", "right") != "right":
        raise UnreadFeatures("it pads on the left")
    try:
        return readers[name](extractor)
    except (AttributeError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise UnreadFeatures(f"a setting is not as expected: {error}") from error


def _wave(extractor: Any) -> Waveform:
    if extractor.feature_size != 1:
        raise UnreadFeatures(f"feature_size is {extractor.feature_size}")
    return Waveform(bool(extractor.do_normalize))


def _filter_bank(extractor: Any) -> FilterBank:
    deviation = float(extractor.std) if extractor.do_normalize else None
    return FilterBank(
        extractor.sampling_rate, extractor.num_mel_bins, extractor.max_length, float(extractor.mean), deviation
    )


def _mel(extractor: Any) -> LogMel:
    if extractor.dither or extractor.padding_value:
        raise UnreadFeatures("dither or padding_value is set")
    filters = torch.from_numpy(extractor.mel_filters).to(torch.float32)
    return LogMel(filters, extractor.n_fft, extractor.hop_length, extractor.n_samples)


def _fused_mel(extractor: Any) -> FusedMel:
    if extractor.truncation not in ("fusion", "rand_trunc") or extractor.padding not in ("repeatpad", "repeat", "pad"):
        raise UnreadFeatures(f"truncation is {extractor.truncation!r} and padding {extractor.padding!r}")
    fused = extractor.truncation == "fusion"
    filters = torch.from_numpy(extractor.mel_filters if fused else extractor.mel_filters_slaney).to(torch.float32)
    max_samples = int(extractor.nb_max_samples)
    return FusedMel(filters, extractor.fft_window_size, extractor.hop_length, extractor.padding, fused, max_samples)
