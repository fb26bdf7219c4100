"""Spectra of sound, batched, as the models' own extractors compute them: Kaldi's filter banks, Whisper's log-mel."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


def kaldi_frames(lengths: Tensor, rate: int) -> Tensor:
    """How many frames of 25 ms, 10 ms apart, lie wholly in so many samples, `(B,)` int64."""
    size, shift = _kaldi_sizes(rate)
    return ((lengths - size).div(shift, rounding_mode="floor") + 1).clamp_min(0)


def kaldi_fbank(samples: Tensor, *, rate: int, mel_bins: int) -> Tensor:
    """Log-mel filter bank energies as `torchaudio.compliance.kaldi.fbank` gives with a Hann window.

    Args:
        samples: `(B, N)` float32, at least 25 ms.
        rate: of `samples`, Hz.
        mel_bins: how many filters, from 20 Hz to half the rate.

    Returns:
        `(B, kaldi_frames(N), mel_bins)` float32, natural logarithms.
    """
    size, shift = _kaldi_sizes(rate)
    frames = samples.unfold(-1, size, shift)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    window = torch.hann_window(size, periodic=False, device=samples.device)
    frames = (frames - 0.97 * before) * window
    points = 1 << (size - 1).bit_length()
    power = torch.fft.rfft(frames, n=points).abs().square()
    filters = placed(_kaldi_filters(rate, mel_bins, points), samples.device)
    energies = power[..., : filters.shape[0]] @ filters  # the last frequency is in no filter
    logs: Tensor = energies.clamp_min(torch.finfo(torch.float32).eps).log()
    return logs


def log_mel(samples: Tensor, filters: Tensor, *, points: int, hop: int) -> Tensor:
    """Whisper's log-mel spectrum: base 10, at most 8 below each row's peak, scaled to about [-1, 1].

    Args:
        samples: `(B, N)` float32.
        filters: `(1 + points // 2, M)` float32, the mel filters.
        points: of the Fourier transform, samples.
        hop: from frame to frame, samples.

    Returns:
        `(B, M, N // hop)` float32.
    """
    window = torch.hann_window(points, device=samples.device)
    spectrum = torch.stft(samples, points, hop, window=window, return_complex=True)
    power = spectrum[..., :-1].abs().square().contiguous()
    logarithms = (placed(filters, samples.device).T @ power).clamp_min(1e-10).log10()
    peak = logarithms.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(logarithms, peak - 8.0) + 4.0) / 4.0


def decibel_mel(samples: Tensor, filters: Tensor, *, points: int, hop: int) -> Tensor:
    """CLAP's log-mel spectrum: decibels of power, -100 at least.

    Args:
        samples: `(B, N)` float32.
        filters: `(1 + points // 2, M)` float32, the mel filters.
        points: of the Fourier transform, samples.
        hop: from frame to frame, samples.

    Returns:
        `(B, 1 + N // hop, M)` float32.
    """
    # in float32 the faintest bands, beside loud ones, would be off by more than 1e-4 dB; MPS has nothing finer
    dtype = torch.float32 if samples.device.type == "mps" else torch.float64
    window = torch.hann_window(points, dtype=dtype, device=samples.device)
    spectrum = torch.stft(samples.to(dtype), points, hop, window=window, return_complex=True)
    power = spectrum.abs().square().mT @ placed(filters, samples.device).to(dtype)
    return (10 * power.clamp_min(1e-10).log10()).float()


def normalise(samples: Tensor, real: Tensor) -> Tensor:
    """Zero mean and unit variance over each row's real samples; the padding becomes zeros.

    Args:
        samples: `(B, N)` float32, zeros where padded.
        real: `(B, N)` bool, false where padded.
    """
    count = real.sum(-1, keepdim=True)
    mean = samples.sum(-1, keepdim=True) / count
    centred = (samples - mean) * real
    return centred / (centred.square().sum(-1, keepdim=True) / count + 1e-7).sqrt()


def pad_to(tensor: Tensor, length: int, *, axis: int) -> Tensor:
    """Cuts an axis, or pads it with zeros, to `length`."""
    tensor = tensor.narrow(axis, 0, min(length, tensor.shape[axis]))
    gap = length - tensor.shape[axis]
    return F.pad(tensor, [0, 0] * (tensor.ndim - 1 - axis % tensor.ndim) + [0, gap]) if gap else tensor


@functools.lru_cache(maxsize=16)
def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """A constant on a device, copied there once. Tensors are told apart by identity."""
    return tensor.to(device)


def _kaldi_sizes(rate: int) -> tuple[int, int]:
    return int(rate * 25.0 * 0.001), int(rate * 10.0 * 0.001)


@functools.lru_cache(maxsize=8)
def _kaldi_filters(rate: int, mel_bins: int, points: int) -> Tensor:
    """`(points // 2, mel_bins)` triangles, evenly spaced on the mel scale from 20 Hz to half the rate."""
    from torchaudio.compliance.kaldi import get_mel_banks

    filters: Tensor = get_mel_banks(mel_bins, points, rate, 20.0, 0.0, 100.0, -500.0, 1.0)[0]
    return filters.T.contiguous()
