"""Resampling of pictures that lie on a GPU: to the level that the CPU gives, or at most two beside it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

_REACH = {"bilinear": 1}
"""Pixels on either side of a place that have a part in it, where the picture does not shrink."""

LEAST_SIDE = 16
"""Pixels that a side has at least: of fewer, kernels that reach over both edges round by more than a level."""

MOST_REACH = 64
"""Pixels on either side that a kernel of CUDA has room for."""


def resamples_on_device(image: Tensor, size: tuple[int, int], mode: str) -> bool:
    """Whether a picture is resampled on its device: by torch's bilinear kernel, if it is not too small."""
    shrunk = max(before / after for before, after in zip(image.shape[1:], size, strict=True))
    if min(*image.shape[1:], *size) < LEAST_SIDE:
        return False
    return mode in _REACH and max(shrunk, 1.0) * _REACH[mode] <= MOST_REACH


def resample_on_device(image: Tensor, size: tuple[int, int], mode: str, *, antialias: bool) -> Tensor:
    """`(3, H, W)` uint8 or float32 as `(3, *size)` of the same dtype, in float32 arithmetic.

    Bytes are rounded after each axis, the width first, as Pillow and torch do on the CPU.
    """
    if image.is_floating_point():
        return _resampled(image, size, mode, antialias=antialias)
    pixels = image.to(torch.float32)
    for between in ((image.shape[1], size[1]), size):
        if tuple(pixels.shape[1:]) != between:
            pixels = _resampled(pixels, between, mode, antialias=antialias).round_().clamp_(0, 255)
    return pixels.to(image.dtype)


def _resampled(pixels: Tensor, size: tuple[int, int], mode: str, *, antialias: bool) -> Tensor:
    resized: Tensor = interpolate(pixels[None], size, mode=mode, antialias=antialias, align_corners=False)
    return resized[0]
