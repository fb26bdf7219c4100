"""Another sampling rate, by windowed sinc interpolation: whole, in pieces, and in padded batches, with equal results.

The kernel is that of `torchaudio.functional.resample` with its defaults (a sinc of 6 zero crossings under a squared
cosine, cut off at 0.99 of the lower Nyquist frequency; J. O. Smith, "Digital Audio Resampling Home Page"). torchaudio's
own grows with the product of both rates (2.8 GB for 44,101 → 16,000 Hz), and knows no pieces.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.processors.spectra import placed

_CROSSINGS, _ROLLOFF = 6, 0.99
_DENSE = 2**21  # kernel weights up to which one convolution does it; beyond, only those that are not zero
_GATHERED = 2**22  # products that are held at once then


def resampled_length(length: int, rate: int, new_rate: int) -> int:
    """How many samples `length` of them become."""
    return -(-length * new_rate // rate)


def resample(samples: Tensor, rate: int, new_rate: int) -> Tensor:
    """Bring samples to another rate.

    Args:
        samples: `(..., N)` float32, on any device; what lies beyond its ends counts as zeros, so that a row that was
            padded with zeros comes out as it would alone, followed by what is to be cut off at `resampled_length`.
        rate: of `samples`, Hz.
        new_rate: of the result, Hz.

    Returns:
        `(..., ceil(N * new_rate / rate))` float32.
    """
    if rate == new_rate:
        return samples
    old, new = _reduced(rate, new_rate)
    count = resampled_length(samples.shape[-1], rate, new_rate)
    rounds = -(-count // new)
    width = _width(old, new)
    flat = samples.reshape(-1, samples.shape[-1])
    right = max(0, width + rounds * old - flat.shape[1])
    padded = F.pad(flat, (width, right))
    result = _interpolate(padded, old, new, rounds)[:, :count]
    return result.reshape(*samples.shape[:-1], count)


def resampled_piece(read: Callable[[int, int], Tensor], rate: int, new_rate: int, start: int, count: int) -> Tensor:
    """A piece of a sound at another rate, equal to that piece of the whole sound's.

    Args:
        read: gives samples at `rate` from `start` on, `count` of them or what is left.
        rate: of what `read` gives, Hz.
        new_rate: of the result, Hz.
        start: the first sample of the result, at `new_rate`.
        count: how many, at `new_rate`.

    Returns:
        `(n,)` float32, shorter than `count` at the end.
    """
    if rate == new_rate:
        return read(start, count)
    old, new = _reduced(rate, new_rate)
    width = _width(old, new)
    first, last = start // new, -(-(start + count) // new)  # whole rounds, of `old` samples in and `new` out
    begin, end = first * old - width, last * old + width
    piece = read(max(begin, 0), end - max(begin, 0))
    available = max(begin, 0) + len(piece)
    if available < end:  # the sound ends in this piece
        count = max(0, min(count, resampled_length(available, rate, new_rate) - start))
    padded = F.pad(piece, (max(-begin, 0), end - available))
    return _interpolate(padded[None], old, new, last - first)[0, start - first * new :][:count]


def _interpolate(padded: Tensor, old: int, new: int, rounds: int) -> Tensor:
    """`(B, rounds * new)` from `(B, N)` that begins `width` samples early."""
    width = _width(old, new)
    if new * (2 * width + old) <= _DENSE:
        kernel = placed(_dense_kernel(old, new), padded.device)
        needed = (rounds - 1) * old + kernel.shape[-1]
        padded = F.pad(padded, (0, max(0, needed - padded.shape[1])))
        result = F.conv1d(padded[:, None, :needed], kernel[:, None], stride=old)
        return result.transpose(1, 2).reshape(len(padded), -1)
    weights, offsets = (placed(part, padded.device) for part in _sparse_kernel(old, new))
    taps = weights.shape[1]
    padded = F.pad(padded, (0, max(0, rounds * old + taps + width - padded.shape[1])))
    steps = torch.arange(taps, device=padded.device)
    pieces = []
    block = max(1, _GATHERED // (taps * len(padded)))
    for begin in range(0, rounds * new, block):
        places = torch.arange(begin, min(begin + block, rounds * new), device=padded.device)
        phase = places % new
        where = (places // new * old + offsets[phase])[:, None] + steps
        pieces.append((padded[:, where] * weights[phase]).sum(-1))
    return torch.cat(pieces, dim=1)


def _reduced(rate: int, new_rate: int) -> tuple[int, int]:
    common = math.gcd(rate, new_rate)
    return rate // common, new_rate // common


def _width(old: int, new: int) -> int:
    """How many samples on each side count."""
    return math.ceil(_CROSSINGS * old / (min(old, new) * _ROLLOFF))


@functools.lru_cache(maxsize=16)
def _dense_kernel(old: int, new: int) -> Tensor:
    """`(new, 2 * width + old)`: for each of a round's results the weights of the samples from `width` before it on."""
    width = _width(old, new)
    phases = torch.arange(new, dtype=torch.float64)[:, None] / new
    places = torch.arange(-width, width + old, dtype=torch.float64)[None] / old
    return _weights(places - phases, old, new)


@functools.lru_cache(maxsize=4)
def _sparse_kernel(old: int, new: int) -> tuple[Tensor, Tensor]:
    """`(new, 2 * width + 2)` weights that are not zero, and `(new,)` where they begin in the padded samples."""
    width = _width(old, new)
    offsets = torch.arange(new) * old // new
    places = (offsets[:, None] + torch.arange(-width, width + 2)).to(torch.float64) / old
    phases = torch.arange(new, dtype=torch.float64)[:, None] / new
    return _weights(places - phases, old, new), offsets


def _weights(seconds: Tensor, old: int, new: int) -> Tensor:
    lower = min(old, new) * _ROLLOFF
    crossings = (seconds * lower).clamp(-_CROSSINGS, _CROSSINGS)
    window = torch.cos(crossings * (math.pi / _CROSSINGS / 2)) ** 2
    weights: Tensor = (torch.special.sinc(crossings) * window * (lower / old)).to(torch.float32)
    return weights
