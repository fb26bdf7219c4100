"""Arrays and tensors of samples → mono float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.audio_files import check_finite
from sensorium.processors.audio_reader import AudioReader, checked_rate
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import describe


def open_array(source: Any, rate: Any, *, limits: MediaLimits) -> AudioReader:
    """A sound that is an array or a tensor already.

    Args:
        source: `(N,)`, `(C, N)` or `(N, C)`, of which the shorter axis is taken for the channels.
        rate: samples a second, Hz.
        limits: what it may cost.

    Raises:
        InputError: `missing-rate`, `bad-rate`, `bad-dtype`, `bad-shape`, `zero-sized`, `not-finite`.
        LimitError: `too-long`, `too-many-channels`.
    """
    return _ArrayAudio(source, rate, limits=limits)


class _ArrayAudio(AudioReader):
    """An array."""

    def __init__(self, source: Any, rate: Any, *, limits: MediaLimits) -> None:
        self.name = describe(source)
        if rate is None:
            raise InputError(
                f'{self.name}: expected the rate of this array, got none. Pass {{"array": …, "sampling_rate": …}}.',
                code="missing-rate",
                source=self.name,
            )
        self.rate = checked_rate(rate, self.name)
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


def _bad_dtype(name: str, dtype: object) -> InputError:
    return InputError(
        f"{name}: expected floating-point samples, or uint8, int16 or int32 PCM, got {dtype}. Cast them.",
        code="bad-dtype",
        source=name,
    )
