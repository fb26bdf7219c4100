"""The steps of a recipe's geometry that put a border around a picture; `geometry` has the others.

All take and give `(3, H, W)` tensors, uint8, or float32 in [0, 255].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from sensorium.errors import CheckpointError, InputError, LimitError
from sensorium.processors.image_resampling import MAX_RESIZED_PIXELS

MOST_MULTIPLE = 2**12
"""px; what a picture is padded to a multiple of comes from a file that may be broken."""


@dataclass(frozen=True)
class PadReflected:
    """Mirror a border around a picture, wider around larger ones.

    Attributes:
        factor: the border is this times the root of half the side that it lengthens, px, rounded down.
    """

    kind: ClassVar[str] = "pad_reflected"
    factor: float = 3.0

    def widths(self, height: int, width: int) -> tuple[int, int]:
        """The border above and below, and the one left and right, of a picture of this size, px."""
        return int(math.sqrt(height / 2) * self.factor), int(math.sqrt(width / 2) * self.factor)

    def __call__(self, image: Tensor) -> Tensor:
        """Pad `(3, H, W)` float32."""
        height, width = image.shape[1:]
        down, across = self.widths(height, width)
        if down >= height or across >= width:
            raise InputError(
                f"a picture of {width}x{height} px is too small for this checkpoint, which mirrors a border of "
                f"{across}x{down} px around it. Give a larger picture.",
                code="too-narrow",
            )
        padded: Tensor = pad(image[None], (across, across, down, down), mode="reflect")
        return padded[0]

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size after this step where it is known before."""
        if size is None:
            return None
        down, across = self.widths(*size)
        return size[0] + 2 * down, size[1] + 2 * across


@dataclass(frozen=True)
class PadSquare:
    """Make a picture a square with black below it or at its right."""

    kind: ClassVar[str] = "pad_square"

    def __call__(self, image: Tensor) -> Tensor:
        """Pad `(3, H, W)`, uint8 or float32."""
        height, width = image.shape[1:]
        side = max(height, width)
        if side * side > MAX_RESIZED_PIXELS:
            raise LimitError(
                f"a picture of {width}x{height} px would become a square of {side}x{side} px for this checkpoint, more "
                f"than {MAX_RESIZED_PIXELS:,} px in all. Make it smaller, or crop it to a shape less elongated.",
                code="too-elongated",
            )
        return pad(image, (0, side - width, 0, side - height))

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size after this step where it is known before."""
        return None if size is None else (max(size), max(size))


@dataclass(frozen=True)
class PadSymmetric:
    """Mirror a border below a picture and at its right, edge px included; a short side is mirrored several times.

    Attributes:
        multiple: both sides become a multiple of this many px.
        always: a side that is one already gets a whole multiple more, as Swin2SR's are.
    """

    kind: ClassVar[str] = "pad_symmetric"
    multiple: int
    always: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.multiple, int) and 1 <= self.multiple <= MOST_MULTIPLE):
            raise CheckpointError(
                f"expected a multiple of 1 to {MOST_MULTIPLE:,} px to pad to, got {self.multiple!r:.80}. Correct the "
                f"checkpoint's preprocessor_config.json, or pass processor=."
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Pad `(3, H, W)`, uint8 or float32."""
        sides = self.output_size((image.shape[1], image.shape[2]))
        assert sides is not None
        for axis, side in zip((1, 2), sides, strict=True):
            length = image.shape[axis]
            if side > length:
                there_and_back = torch.arange(side, device=image.device) % (2 * length)
                image = image.index_select(axis, torch.minimum(there_and_back, 2 * length - 1 - there_and_back))
        return image

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size after this step where it is known before."""
        if size is None:
            return None
        spare = 1 if self.always else 0
        height, width = (-(-(side + spare) // self.multiple) * self.multiple for side in size)
        return height, width


@dataclass(frozen=True)
class PadBelow:
    """Put black below a picture and at its right, up to a size; a larger side stays as it is.

    Attributes:
        size: (height, width), px.
    """

    kind: ClassVar[str] = "pad_below"
    size: tuple[int, int]

    def __post_init__(self) -> None:
        whole = len(self.size) == 2 and all(isinstance(side, int) and side >= 1 for side in self.size)
        if not whole or math.prod(self.size) > MAX_RESIZED_PIXELS:
            raise CheckpointError(
                f"expected two whole sizes to pad to, of {MAX_RESIZED_PIXELS:,} px in all, got {self.size!r:.80}. "
                f"Correct the checkpoint's preprocessor_config.json, or pass processor=."
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Pad `(3, H, W)`, uint8 or float32."""
        height, width = (max(0, side - had) for side, had in zip(self.size, image.shape[1:], strict=True))
        return pad(image, (0, width, 0, height)) if height or width else image

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size after this step where it is known before."""
        return None if size is None else (max(size[0], self.size[0]), max(size[1], self.size[1]))
