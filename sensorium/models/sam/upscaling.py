"""From places to the pixels of masks: SAM's upscaling without a transposed convolution, in the order of the places.

In that order a place's sixteen pixels lie together: `(h·w, 2, 2, 2, 2)`, coarse row and column, then fine ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def spread(conv: Any, places: Tensor) -> Tensor:
    """A transposed convolution with stride and kernel 2 as a product: `(…, C)` to `(…, 4, C')`, patch by patch."""
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)  # (C, 2·2·C')
    spread = torch.addmm(conv.bias.repeat(4), places.flatten(0, -2), weight)
    return spread.view(*places.shape[:-1], 4, spread.shape[-1] // 4)


def gelu(x: Tensor) -> Tensor:
    """The activation of both models' decoders, in place."""
    activated: Tensor = torch.ops.aten.gelu_(x)
    return activated


def patches(features: Tensor, side: int) -> Tensor:
    """`(C, side·h, side·w)` as `(h·w, side², C)`, in the order in which `spread` twice gives them."""
    channels, height, width = features.shape
    if side == 2:
        split = features.view(channels, height // 2, 2, width // 2, 2).permute(1, 3, 2, 4, 0)
        return split.reshape(-1, 4, channels)
    split = features.view(channels, height // 4, 2, 2, width // 4, 2, 2).permute(1, 4, 2, 5, 3, 6, 0)
    return split.reshape(-1, 16, channels)


def image_of(places: Tensor, grid: tuple[int, int]) -> Tensor:
    """`(N, h·w·16, C)` in the order in which `spread` twice gives them as `(N, C, 4h, 4w)`.

    Args:
        places: the pixels of each place.
        grid: (h, w).
    """
    count, (height, width), channels = len(places), grid, places.shape[-1]
    split = places.view(count, height, width, 2, 2, 2, 2, channels)
    return split.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(count, channels, 4 * height, 4 * width)
