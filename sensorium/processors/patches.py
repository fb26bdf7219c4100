"""Patches: a picture in its own proportions as a row of patches, as SigLIP 2 takes it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.errors import CheckpointError, InputError
from sensorium.processors.geometry import MOST_PIXELS
from sensorium.processors.image_resampling import Resample, resample

LARGEST = 100.0
"""How much a picture is enlarged at most."""

NEAR = 1e-5
"""How near a scale is to the largest one that leaves few enough patches."""


@dataclass(frozen=True)
class Patches:
    """How a picture is resized and cut, as Transformers' Siglip2ImageProcessor does it.

    Attributes:
        side: of a patch, px.
        most: how many patches a picture has at most; a row of fewer is filled up to as many.
        mode: the kernel with which pictures are resized.
        resizes: whether they are; else they have to be of whole patches already.
    """

    side: int
    most: int
    mode: Resample = "bilinear"
    resizes: bool = True

    def __post_init__(self) -> None:
        if not (self.side >= 1 and self.most >= 1 and self.side**2 * self.most <= MOST_PIXELS):
            raise CheckpointError(
                f"expected patches of at least 1 px, and of {MOST_PIXELS:,} px together at most, got {self!r:.80}. "
                "Correct the checkpoint's recipe."
            )

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in px of a picture once it is resized: whole patches, as many as there may be."""
        low, high = NEAR / 10, LARGEST
        while high - low >= NEAR:
            scale = (low + high) / 2
            rows, columns = self._counts(height, width, scale)
            low, high = (scale, high) if rows * columns <= self.most else (low, scale)
        rows, columns = self._counts(height, width, low)
        return rows * self.side, columns * self.side

    def resized(self, image: Tensor) -> Tensor:
        """A picture, `(3, H, W)` uint8 or float32, at its size; the dtype stays.

        Raises:
            InputError: it is not resized, and cannot be cut as it is.
        """
        height, width = image.shape[1:]
        if not self.resizes:
            self._check(height, width)
            return image
        target = self.size(height, width)
        return image if target == (height, width) else resample(image, target, mode=self.mode, pillow=False)

    def cut(self, image: Tensor) -> dict[str, Tensor]:
        """The patches of a picture that `resized` gave.

        Args:
            image: `(3, h, w)` uint8 or float32.

        Returns:
            `pixel_values`, `(most, side · side · 3)` of its dtype, row by row, and in a patch row by row, too;
            `pixel_attention_mask`, `(most,)` int32, 1 for patches and 0 for what fills the row;
            `spatial_shapes`, `(2,)` int64, how many rows and columns of patches there are.
        """
        rows, columns = image.shape[1] // self.side, image.shape[2] // self.side
        grid = image.reshape(3, rows, self.side, columns, self.side).permute(1, 3, 2, 4, 0)
        pixels = image.new_zeros(self.most, self.side * self.side * 3)
        pixels[: rows * columns] = grid.reshape(rows * columns, -1)
        mask = (torch.arange(len(pixels)) < rows * columns).int()
        return {"pixel_values": pixels, "pixel_attention_mask": mask, "spatial_shapes": torch.tensor([rows, columns])}

    def _check(self, height: int, width: int) -> None:
        if height % self.side or width % self.side or height * width > self.most * self.side**2:
            raise InputError(
                f"expected a picture of at most {self.most} whole patches of {self.side}x{self.side} px, got "
                f"{width}x{height} px. Resize it, or use a processor that does (do_resize).",
                code="bad-shape",
            )

    def _counts(self, height: int, width: int, scale: float) -> tuple[int, int]:
        """Rows and columns of patches of a picture at a scale; at least one each."""
        rows, columns = (max(1, math.ceil(pixels * scale / self.side)) for pixels in (height, width))
        return rows, columns
