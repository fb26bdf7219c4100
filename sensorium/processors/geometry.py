"""The steps of a recipe's geometry: each a small value that says what it does, and does it to one picture.

All take and give `(3, H, W)` tensors, uint8, or float32 in [0, 255].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sensorium.errors import CheckpointError, InputError
from sensorium.processors.borders import PadBelow, PadReflected, PadSquare, PadSymmetric
from sensorium.processors.box_crop import BoxCrop
from sensorium.processors.image_resampling import (
    Resample,
    SizeRule,
    blurred,
    luma,
    pad_centred,
    resample,
    resized_size,
)

MOST_PX = 2**14
"""A recipe comes from a file that may be broken: no model sees 16,384 pixels on a side."""

MOST_PIXELS = 2**25
"""Of a picture of a fixed size: 400 MB in float32."""


@dataclass(frozen=True)
class Resize:
    """Resample a picture.

    Attributes:
        rule: how the new size follows from the old one; see `geometry.resized_size`.
        size: (height, width) in px, or (edge, edge) or (edge, cap) as the rule reads it.
        multiple: both sides are rounded up to a multiple of this many px.
        mode: the kernel.
        pillow: resample with Pillow, for recipes whose reference does.
        antialias: widen the kernel where the picture shrinks, if the mode has it.
        align_corners: keep the centres of the corner pixels where they are; in floats, never antialiased.
        blur: where both sides shrink, blur the picture first, as scikit-image does, and do not antialias; in floats.
    """

    kind: ClassVar[str] = "resize"
    rule: SizeRule
    size: tuple[int, int]
    mode: Resample = "bilinear"
    multiple: int = 1
    pillow: bool = False
    antialias: bool = True
    align_corners: bool = False
    blur: bool = False

    def __post_init__(self) -> None:
        _check_sides(self, (*self.size, self.multiple), pixels=self.rule == "exact")
        if self.rule not in get_args(SizeRule) or self.mode not in get_args(Resample):
            raise _wrong(
                f"a rule out of {', '.join(get_args(SizeRule))}, a mode out of {', '.join(get_args(Resample))}", self
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Resample `(3, H, W)`, uint8 or float32; the dtype stays."""
        height, width = image.shape[1:]
        target = resized_size(height, width, rule=self.rule, size=self.size, multiple=self.multiple)
        if target == (height, width):
            return image
        if self.align_corners:
            resized: Tensor = interpolate(image[None], target, mode=self.mode, align_corners=True)
            return resized[0]
        antialias = self.antialias and not self.blur
        source = blurred(image, target) if self.blur else image
        return resample(source, target, mode=self.mode, pillow=self.pillow, antialias=antialias)

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size after this step where it is the same for all pictures, given the size before, or None."""
        if self.rule == "exact":
            return resized_size(1, 1, rule="exact", size=self.size, multiple=self.multiple)
        return None if size is None else resized_size(*size, rule=self.rule, size=self.size, multiple=self.multiple)


@dataclass(frozen=True)
class CenterCrop:
    """Cut the middle out of a picture, padded first along a side that is too short.

    Attributes:
        size: (height, width) in px of what is cut out.
        fill: the value of the padding in [0, 255] for each of R, G, B.
        half_even: where the margin is odd, round half of it to the even px as timm does, not down as Transformers does.
    """

    kind: ClassVar[str] = "center_crop"
    size: tuple[int, int]
    fill: tuple[int, int, int] = (0, 0, 0)
    half_even: bool = False

    def __post_init__(self) -> None:
        _check_sides(self, self.size, pixels=True)
        if len(self.fill) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in self.fill):
            raise _wrong("three whole numbers from 0 to 255 as the fill", self)

    def __call__(self, image: Tensor) -> Tensor:
        """Cut `(3, height, width)` out of `(3, H, W)`, as a view where nothing was padded."""
        height, width = self.size
        image = pad_centred(image, self.size, fill=self.fill)
        top, left = self._margin(image.shape[1] - height), self._margin(image.shape[2] - width)
        return image[:, top : top + height, left : left + width]

    def _margin(self, spare: int) -> int:
        return round(spare / 2) if self.half_even else spare // 2

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """The size after this step, which is always the same."""
        return self.size


@dataclass(frozen=True)
class CropToRatio:
    """Cut the middle out of a picture, as large as a share of its shorter side.

    Attributes:
        ratio: the height and the width of the cut, as shares of the shorter side.
    """

    kind: ClassVar[str] = "crop_to_ratio"
    ratio: tuple[float, float]

    def __post_init__(self) -> None:
        if len(self.ratio) != 2 or not all(0 < share < MOST_PX for share in self.ratio):
            raise _wrong(f"two shares above 0 and below {MOST_PX}", self)

    def __call__(self, image: Tensor) -> Tensor:
        """Cut the middle out of `(3, H, W)`."""
        shorter = min(image.shape[1:])
        height, width = (int(share * shorter) for share in self.ratio)
        if not (height and width):
            raise InputError(
                f"a picture of {image.shape[2]}x{image.shape[1]} px is too small for this checkpoint, which cuts out "
                f"{self.ratio[1]:.3g} x {self.ratio[0]:.3g} of the shorter side. Give a larger picture.",
                code="too-narrow",
            )
        return CenterCrop((height, width))(image)

    def output_size(self, size: tuple[int, int] | None) -> None:
        """None: it depends on the picture."""


@dataclass(frozen=True)
class FlipChannels:
    """Turns RGB into BGR."""

    kind: ClassVar[str] = "flip_channels"

    def __call__(self, image: Tensor) -> Tensor:
        """Reverse the first axis of `(3, H, W)`; the result is channels-last in memory."""
        reverse = torch.tensor([2, 1, 0], device=image.device)  # a gather: flip takes three times as long
        return image.permute(1, 2, 0).index_select(2, reverse).permute(2, 0, 1)

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size stays."""
        return size


@dataclass(frozen=True)
class ToGrey:
    """Make R, G and B the luma (ITU-R BT.601) of a picture with colours; a grey one stays as it is, to the level."""

    kind: ClassVar[str] = "to_grey"

    def __call__(self, image: Tensor) -> Tensor:
        """Turn `(3, H, W)` grey; in bytes the luma is rounded down, as the reference does it."""
        if bool((image == image[:1]).all()):
            return image
        return luma(image.to(torch.float32)[None])[0].to(image.dtype).expand(3, -1, -1)

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size stays."""
        return size


@dataclass(frozen=True)
class ToFloat:
    """Leave bytes for float32 in [0, 255], for recipes that resize without rounding to grey levels."""

    kind: ClassVar[str] = "to_float"

    def __call__(self, image: Tensor) -> Tensor:
        """Cast `(3, H, W)` to float32, contiguous, as resampling floats is faster so."""
        return image.contiguous().to(torch.float32)

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size stays."""
        return size


Step = (
    Resize
    | CenterCrop
    | CropToRatio
    | PadBelow
    | PadReflected
    | PadSquare
    | PadSymmetric
    | FlipChannels
    | ToFloat
    | ToGrey
    | BoxCrop
)
STEPS: dict[str, type[Step]] = {
    step.kind: step
    for step in (
        Resize,
        CenterCrop,
        CropToRatio,
        PadBelow,
        PadReflected,
        PadSquare,
        PadSymmetric,
        FlipChannels,
        ToFloat,
        ToGrey,
        BoxCrop,
    )
}


def _check_sides(step: Resize | CenterCrop, sides: tuple[int, ...], *, pixels: bool = False) -> None:
    whole = len(step.size) == 2 and all(isinstance(side, int) and 1 <= side < MOST_PX for side in sides)
    if not whole or (pixels and sides[0] * sides[1] > MOST_PIXELS):
        raise _wrong(f"two whole sizes from 1 to {MOST_PX - 1} px, of {MOST_PIXELS:,} px in all", step)


def _wrong(expected: str, step: Step) -> CheckpointError:
    return CheckpointError(
        f"expected {expected}, got {step!s:.300}. Correct the checkpoint's preprocessor_config.json, or pass "
        f"processor=."
    )
