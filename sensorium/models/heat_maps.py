"""Where the peaks of heat maps lie, between their pixels.

Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020,
https://arxiv.org/abs/1910.06278: a map is blurred, and its logarithm taken for a parabola around the highest pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from sensorium.models.on_device import brought, sent

LOWEST, HIGHEST = 0.001, 50.0
"""Between these a map is cut off before its logarithm is taken."""

_AROUND = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1))
"""The rows and columns, from a peak, at which a parabola is laid."""


@dataclass(frozen=True)
class Blur:
    """How a map is blurred before its peaks are refined.

    Attributes:
        sigma: of the Gaussian, px of the map.
        radius: where it is cut off, px.
        mirrored: whether the map is mirrored at its edges, the outermost px included; else there are zeros beyond.
        keeps_peak: whether each blurred map is scaled to the height that it had.
    """

    sigma: float
    radius: int
    mirrored: bool
    keeps_peak: bool

    def __call__(self, maps: Tensor) -> Tensor:
        """Blurs `(…, h, w)` float32."""
        height, width = maps.shape[-2:]
        flat = maps.reshape(-1, 1, height, width)
        if self.mirrored:
            rows, columns = self._mirror(height, maps.device), self._mirror(width, maps.device)
            around = flat.index_select(2, rows).index_select(3, columns)
        else:
            around = pad(flat, (self.radius,) * 4)
        at = np.arange(-self.radius, self.radius + 1)
        weights = np.exp(-0.5 * (at / self.sigma) ** 2)
        kernel = sent((weights / weights.sum()).tolist(), maps.device, torch.float32)
        blurred = conv2d(conv2d(around, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
        if self.keeps_peak:
            before, after = flat.amax((2, 3), keepdim=True), blurred.amax((2, 3), keepdim=True)
            blurred = blurred * torch.where(after > 0, before / after, 1.0)
        return blurred.view(maps.shape)

    def _mirror(self, count: int, device: torch.device) -> Tensor:
        """Which of `count` px lie at the places from the radius before the first to the radius behind the last."""
        places = np.arange(-self.radius, count + self.radius) % (2 * count)
        return sent(np.minimum(places, 2 * count - 1 - places).tolist(), device)


def locate(maps: Tensor, blur: Blur) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The peak of each map, on the CPU; all that is asked of the device comes in one copy.

    Args:
        maps: `(N, K, h, w)`.
        blur: before refining.

    Returns:
        `(N, K, 2)` (x, y) in px of the map, the centre of its upper left px being (0, 0), and `(N, K)` heights of the
        peaks. A map without anything above 0 has its peak at (-1, -1), as in the references.
    """
    maps = maps.float()
    width = maps.shape[3]
    scores, at = maps.flatten(2).max(dim=2)
    found = scores > 0
    columns = torch.where(found, at % width, -1)
    rows = torch.where(found, torch.div(at, width, rounding_mode="floor"), -1)
    logs = blur(maps).clamp(LOWEST, HIGHEST).log()
    padded = pad(logs, (1, 1, 1, 1), mode="replicate").flatten(2)
    centre = (rows + 1) * (width + 2) + columns + 1
    offsets = sent([row * (width + 2) + column for row, column in _AROUND], maps.device)
    places = (centre[..., None] + offsets).clamp(0, padded.shape[2] - 1)
    peaks, scores, values = brought([torch.stack([columns, rows], dim=-1), scores, padded.gather(2, places)])
    refined = peaks.numpy() - _steps(values.numpy())
    return refined.astype(np.float32), scores.numpy()


def _steps(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far to go from the highest px to the top of the parabola through the logarithms around it.

    Args:
        values: `(N, K, 7)`, at `_AROUND`.

    Returns:
        `(N, K, 2)` (x, y) px to take off; 0 where the parabola has no top.
    """
    middle, right, left, below, above, lower, upper = np.moveaxis(values, -1, 0)
    dx, dy = (0.5 * (right - left)).astype(np.float64), (0.5 * (below - above)).astype(np.float64)
    dxx, dyy = right - 2 * middle + left, below - 2 * middle + above
    dxy = (0.5 * (lower - right - below + middle + middle - left - above + upper)).astype(np.float64)
    epsilon = float(np.finfo(np.float32).eps)
    xx, yy = dxx + np.float64(epsilon), dyy + np.float64(epsilon)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        determinant = xx * yy - dxy * dxy
        steps = np.stack([(yy * dx - dxy * dy) / determinant, (xx * dy - dxy * dx) / determinant], axis=-1)
    return np.where(np.isfinite(steps).all(-1, keepdims=True), steps, 0.0)
