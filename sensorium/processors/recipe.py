"""What a checkpoint does to a picture before its model sees it, written down as data and run as tensor operations.

A `Recipe` has two halves. `fit` is the geometry (resize, crop, channel order), on one picture, on the CPU, in bytes
where the reference works in bytes. `finish` is the arithmetic (rescale, normalise, pad), on a batch, on any device, in
float32. `recipe_transformers.py` and `recipe_timm.py` read recipes; nothing here knows a model's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.errors import CheckpointError, InputError
from sensorium.processors.borders import MOST_MULTIPLE, PadBelow
from sensorium.processors.geometry import MOST_PIXELS, STEPS, Step
from sensorium.processors.image_resampling import luma
from sensorium.processors.patches import Patches
from sensorium.processors.squares import squares_of

_OPERATORS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "multiply": (Tensor.mul, Tensor.mul_),
    "subtract": (Tensor.sub, Tensor.sub_),
    "divide": (Tensor.div, Tensor.div_),
}


@dataclass(frozen=True)
class Operation:
    """One arithmetic operation on every pixel, in float32.

    Attributes:
        operator: what is done.
        values: one value for all channels, or one for each of the three.
    """

    operator: Literal["multiply", "subtract", "divide"]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        plain = all(type(value) in (int, float) and abs(value) < 2.0**63 for value in self.values)
        zero = self.operator == "divide" and not all(self.values)
        if self.operator not in _OPERATORS or len(self.values) not in (1, 3) or not plain or zero:
            raise CheckpointError(
                f"expected one of {', '.join(_OPERATORS)} with 1 or 3 numbers below 2^63, none of them 0 to divide by, "
                f"got {self.operator!r:.40} with {self.values!r:.200}. Fetch the checkpoint's recipe again."
            )


@dataclass(frozen=True)
class Recipe:
    """How one picture becomes the `pixel_values` of a model.

    Attributes:
        geometry: steps on one picture, in order.
        arithmetic: operations on the batch, in order; rescale and normalise are one where the reference fuses them.
        pad_to: (height, width) in px that `finish` pads to, right and below, with zeros **after** the arithmetic.
        pad_multiple: as `pad_to`, to multiples of this many px.
        pad_batch: as `pad_to`, to the largest height and width in the batch; `finish` gets equal sizes and leaves
            the padding to whoever makes the batch.
        pixel_mask: the model is told which pixels are the picture's and which are padding; see `mask`.
        grey: after the arithmetic, pictures with colours become their luma, in three equal channels.
        squares: the model sees a picture square by square, along its longer side; see `pieces`.
        patches: how pictures are cut into patches after the geometry; None where they are not.
    """

    geometry: tuple[Step, ...] = ()
    arithmetic: tuple[Operation, ...] = ()
    pad_to: tuple[int, int] | None = None
    pad_batch: bool = False
    pixel_mask: bool = False
    grey: bool = False
    squares: bool = False
    pad_multiple: int = 1
    patches: Patches | None = None
    _constants: dict[Any, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.pad_to is not None and not (min(self.pad_to) >= 1 and math.prod(self.pad_to) <= MOST_PIXELS):
            raise CheckpointError(
                f"expected a recipe that pads to at least 1x1 px and at most {MOST_PIXELS:,} px, got (height, width) "
                f"{self.pad_to!r:.80}. Correct the checkpoint's recipe."
            )
        if not (isinstance(self.pad_multiple, int) and 1 <= self.pad_multiple <= MOST_MULTIPLE):
            raise CheckpointError(
                f"expected a recipe that pads to a multiple of 1 to {MOST_MULTIPLE:,} px, got "
                f"{self.pad_multiple!r:.80}. Correct the checkpoint's recipe."
            )
        fitted = _size_after(self.geometry)
        if (
            self.pad_to is not None
            and fitted is not None
            and (fitted[0] > self.pad_to[0] or fitted[1] > self.pad_to[1])
        ):
            raise CheckpointError(
                f"expected a recipe that pads to what its steps make or more, got (height, width) {self.pad_to!r:.80} "
                f"after {fitted!r:.80}. Correct the checkpoint's recipe."
            )
        values = np.array([[0.0], [255.0]], np.float32)
        with np.errstate(all="ignore"):
            for operation in self.arithmetic:
                values = getattr(np, operation.operator)(values, np.array(operation.values, np.float32))
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"expected a recipe that makes numbers of black and white in float32, got {self.arithmetic!r:.300}. "
                "Correct the checkpoint's recipe."
            )

    def __reduce__(self) -> tuple[Any, ...]:  # without the tensors kept for this process's devices
        settings = (self.geometry, self.arithmetic, self.pad_to, self.pad_batch, self.pixel_mask, self.grey)
        return Recipe, (*settings, self.squares, self.pad_multiple, self.patches)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in px of every output, or None where it depends on the picture, or is cut into patches."""
        fitted = _size_after(self.geometry)
        return self.pad_to or (None if fitted is None else self._padded(fitted))

    def fit(self, image: Tensor) -> Tensor:
        """Run the geometry on one picture.

        Args:
            image: `(3, H, W)` RGB, uint8, or float32 in [0, 255]. Channels-last strides are fastest.

        Returns:
            `(3, h, w)` of the same dtype (float32 where the recipe resizes in floats), usually with the strides
            of `image`; it may be a view of `image`.

        Raises:
            InputError: the picture is too narrow or too elongated for this recipe.
        """
        for step in self.geometry:
            image = step(image)
        if self.patches is not None:
            image = self.patches.resized(image)
        if self.pad_to is not None and (image.shape[1] > self.pad_to[0] or image.shape[2] > self.pad_to[1]):
            raise InputError(
                f"after resizing the picture is {image.shape[2]}x{image.shape[1]} px, and this checkpoint pads to "
                f"{self.pad_to[1]}x{self.pad_to[0]}. Give a smaller picture, or a processor that resizes to fit.",
                code="larger-than-padding",
            )
        return image

    def pieces(self, pixels: Tensor) -> list[Tensor]:
        """What the model sees of a picture that was fitted, `(3, h, w)`: its squares, or all of it at once.

        Raises:
            LimitError: there would be too many squares.
        """
        return squares_of(pixels) if self.squares else [pixels]

    def unpadded(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) in px that `fit` brings a picture to, before it puts black below it and at its right.

        None where that is not known from its size.
        """
        size: tuple[int, int] | None = (height, width)
        for step in self.geometry:
            if not isinstance(step, PadBelow):
                size = step.output_size(size)
        return size

    def finish(self, pixels: Tensor) -> Tensor:
        """Run the arithmetic on a batch; `pixels` itself stays as it is.

        Args:
            pixels: `(B, 3, h, w)` as `fit` gave them, on any device, contiguous or channels-last; or patches,
                `(B, n, D)`.

        Returns:
            `(B, 3, h, w)` float32 in the same memory format; or `(B, n, D)`.
        """
        if self.patches is not None:
            return self._finish_patches(pixels, self.patches.side**2)
        wide = _is_channels_last(pixels) and not torch.compiler.is_compiling()
        # (B, h, w·3) keeps the inner loop long: five times as fast as broadcasting over three channels on the CPU.
        view = pixels.permute(0, 2, 3, 1).flatten(2) if wide else pixels
        owned = view.dtype != torch.float32
        view = view.to(torch.float32)
        for operation in self.arithmetic:
            value = self._constant(operation.values, pixels.device, repeats=pixels.shape[3] if wide else 0)
            fresh, in_place = _OPERATORS[operation.operator]  # an index by a bool is more than torch 2.11 can compile
            view = (in_place if owned else fresh)(view, value)
            owned = True
        if wide:
            view = view.view(*view.shape[:2], -1, 3).permute(0, 3, 1, 2)
        if self.grey:
            coloured = (view != view[:, :1]).flatten(1).any(dim=1).view(-1, 1, 1, 1)
            view = torch.where(coloured, luma(view), view[:, :1]).expand_as(view)
        return self._pad(view)

    def _finish_patches(self, pixels: Tensor, repeats: int) -> Tensor:
        view = pixels.to(torch.float32)
        for operation in self.arithmetic:
            view = _OPERATORS[operation.operator][0](view, self._constant_along(operation.values, view, repeats))
        return view

    def _constant_along(self, values: tuple[float, ...], pixels: Tensor, repeats: int) -> Tensor | float:
        constant = self._constant(values, pixels.device, repeats=0)
        return constant.view(-1).repeat(repeats) if isinstance(constant, Tensor) else constant

    def mask(self, pixels: Tensor) -> Tensor:
        """Which pixels of `finish`'s result are the picture's.

        Args:
            pixels: what `finish` takes.

        Returns:
            `(B, h, w)` int64 on the device of `pixels`: 1 for the picture, 0 for padding.
        """
        count, _, height, width = pixels.shape
        ones = torch.ones((count, height, width), dtype=torch.int64, device=pixels.device)
        return self._pad(ones)

    def _pad(self, batch: Tensor) -> Tensor:
        """Zeros below and at the right of `(…, h, w)`."""
        height, width = batch.shape[-2:]
        padded = self._padded((height, width))
        return batch if padded == (height, width) else F.pad(batch, (0, padded[1] - width, 0, padded[0] - height))

    def _padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of what is padded."""
        height, width = (-(-side // self.pad_multiple) * self.pad_multiple for side in size)
        return self.pad_to or (height, width)

    def _constant(self, values: tuple[float, ...], device: torch.device, *, repeats: int) -> Tensor | float:
        """Per-channel values on the device: kept between calls in eager mode, in the graph when compiled."""
        if len(values) == 1:
            return values[0]
        if torch.compiler.is_compiling():  # fills, not a copy from the host: no sync, and CUDA graphs can hold them
            filled = [torch.full((), value, dtype=torch.float32, device=device) for value in values]
            return torch.stack(filled).view(-1, 1, 1)
        constant = self._constants.get((values, device))
        if constant is None:
            with torch.inference_mode(False):
                constant = torch.tensor(values, dtype=torch.float32, device=device)
            self._constants[values, device] = constant
        return constant.repeat(repeats) if repeats else constant.view(-1, 1, 1)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON holds it."""
        return {
            "version": 1,
            "geometry": [{"step": step.kind, **asdict(step)} for step in self.geometry],
            "arithmetic": [asdict(operation) for operation in self.arithmetic],
            "pad_to": self.pad_to,
            "pad_batch": self.pad_batch,
            "pixel_mask": self.pixel_mask,
            "grey": self.grey,
            "squares": self.squares,
            "pad_multiple": self.pad_multiple,
            "patches": None if self.patches is None else asdict(self.patches),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Read what `to_dict` wrote, also after a round through JSON.

        Raises:
            CheckpointError: a version, step or value that this release does not know.
        """
        try:
            if data["version"] != 1:
                raise ValueError(f"version {data['version']!r}")
            pad_to = data["pad_to"]
            return cls(
                geometry=tuple(_step_from_dict(step) for step in data["geometry"]),
                arithmetic=tuple(Operation(**_tuples(operation)) for operation in data["arithmetic"]),
                pad_to=None if pad_to is None else (int(pad_to[0]), int(pad_to[1])),
                pad_batch=bool(data["pad_batch"]),
                pixel_mask=bool(data.get("pixel_mask", False)),
                grey=bool(data.get("grey", False)),
                squares=bool(data.get("squares", False)),
                pad_multiple=data.get("pad_multiple", 1),
                patches=None if data.get("patches") is None else Patches(**data["patches"]),
            )
        except CheckpointError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CheckpointError(
                f"expected a recipe as Recipe.to_dict writes it (version 1), got one that cannot be read "
                f"({type(error).__name__}: {error}). Save it again, or update Sensorium."
            ) from error


def _size_after(geometry: tuple[Step, ...]) -> tuple[int, int] | None:
    size: tuple[int, int] | None = None
    for step in geometry:
        size = step.output_size(size)
    return size


def _step_from_dict(data: Mapping[str, Any]) -> Step:
    fields = _tuples(data)
    return STEPS[fields.pop("step")](**fields)


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _is_channels_last(pixels: Tensor) -> bool:
    return pixels.is_contiguous(memory_format=torch.channels_last) and not pixels.is_contiguous()
