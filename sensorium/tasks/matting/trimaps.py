"""What is known to be in front and behind: trimaps, as they are given or made of masks.

A trimap has 255 where a pixel is in front, 0 where it is behind, and 128 where that is to be found out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.layers import load_layers
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import describe

IN_FRONT, UNKNOWN = 255, 128


def read_trimap(raw: Any, size: tuple[int, int], limits: MediaLimits) -> Tensor:
    """Reads a trimap.

    Args:
        raw: a grey picture in any form that `load_layers` takes; levels between 0, 128 and 255 stay as they are.
        size: (H, W) of its picture, px.
        limits: what it may cost.

    Returns:
        `(1, H, W)` uint8, or float32 in [0, 255] of what has more bits.

    Raises:
        InputError: it cannot be read, has colours or alpha, or is of another size.
    """
    grey = _grey_of(raw, size, limits, "trimap")
    if grey.dtype == np.uint16:
        grey = grey / np.float32(257)
    elif grey.dtype != np.uint8:
        grey = grey * np.float32(255)
    return torch.from_numpy(np.ascontiguousarray(grey))[None]


def trimap_of_mask(raw: Any, size: tuple[int, int], limits: MediaLimits, *, unknown_px: int) -> Tensor:
    """Makes a trimap of a mask, whose outline becomes unknown; the picture's border is no outline.

    Args:
        raw: bool, or a grey picture as for a trimap, of which what is at least half as bright as can be is in front.
        size: (H, W) of its picture, px.
        limits: what it may cost.
        unknown_px: how far from the outline, inside and outside, pixels are unknown, along rows and columns.

    Returns:
        `(1, H, W)` uint8.

    Raises:
        InputError: it cannot be read, has colours or alpha, is of another size, or so dark that nothing is in front,
            though not black.
    """
    grey = _grey_of(raw, size, limits, "mask")
    half = 0.5 if grey.dtype.kind == "f" else (np.iinfo(grey.dtype).max + 1) // 2
    mask = grey >= half
    if not mask.any() and grey.any():
        raise InputError(
            f"{describe(raw)}: expected a mask that is bool, or bright where something is in front, got levels up to "
            f"{grey.max():g}, none of them half of the brightest. Pass mask > 0.",
            code="bad-mask",
        )
    trimap = np.where(_widened(mask, unknown_px), np.uint8(UNKNOWN), np.uint8(0))
    trimap[~_widened(~mask, unknown_px)] = IN_FRONT
    return torch.from_numpy(trimap)[None]


def _grey_of(raw: Any, size: tuple[int, int], limits: MediaLimits, noun: str) -> NDArray[Any]:
    """`(H, W)` uint8, uint16, or float32 in [0, 1]."""
    layers = load_layers(raw, limits=limits)
    code = f"bad-{noun}"
    colours = layers[:, :, : 1 if layers.shape[2] < 3 else 3]
    opaque = 1 if layers.dtype.kind == "f" else np.iinfo(layers.dtype).max
    if (colours != colours[:, :, :1]).any() or (layers.shape[2] in (2, 4) and (layers[:, :, -1] != opaque).any()):
        raise InputError(
            f'{describe(raw)}: expected a grey {noun}, got one with colours or alpha. Convert it: image.convert("L").',
            code=code,
        )
    grey: NDArray[Any] = colours[:, :, 0]
    if grey.shape != size:
        raise InputError(
            f"{describe(raw)}: expected a {noun} of the picture's {size[1]}x{size[0]} px, got one of {grey.shape[1]}x"
            f"{grey.shape[0]} px. Resize it with Image.Resampling.NEAREST, which mixes no levels.",
            code=code,
        )
    return grey


def _widened(mask: NDArray[np.bool_], by_px: int) -> NDArray[np.bool_]:
    """Where a pixel of `(H, W)` lies at most so far away, along rows and columns; it takes as long for any number."""
    for axis in (0, 1):
        length = mask.shape[axis]
        counts = np.insert(np.cumsum(mask, axis=axis, dtype=np.int32), 0, 0, axis=axis)
        places, by = np.arange(length), min(by_px, length)
        before, behind = np.maximum(places - by, 0), np.minimum(places + by + 1, length)
        mask = counts.take(behind, axis) > counts.take(before, axis)
    return mask
