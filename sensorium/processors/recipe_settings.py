"""Steps and arithmetic as the settings of a Transformers image processor say them, in TorchvisionBackend's own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from sensorium.processors.geometry import CenterCrop, Resize, Step
from sensorium.processors.image_resampling import Resample, SizeRule, torch_resamples
from sensorium.processors.recipe import Operation, Recipe

_RESAMPLE: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers


class UnreadRecipe(Exception):  # noqa: N818 - it never leaves the package
    """A processor whose recipe is not known for certain; the message says why."""


def resized(processor: Any) -> tuple[Resize, ...]:
    """TorchvisionBackend.resize."""
    if not processor.do_resize:
        return ()
    size = processor.size
    if size.shortest_edge and size.longest_edge:
        return (resize_to(processor, "shortest-capped", size.shortest_edge, size.longest_edge),)
    if size.shortest_edge:
        return (resize_to(processor, "shortest", size.shortest_edge),)
    if size.max_height and size.max_width:
        return (resize_to(processor, "within", size.max_height, size.max_width),)
    if size.height and size.width:
        return (resize_to(processor, "exact", size.height, size.width),)
    raise UnreadRecipe(f"size={dict(size)}")


def scaled_nearest(processor: Any) -> tuple[Resize, ...]:
    """The resize of DPT and similar models: to a size, or to one of about that which keeps the shape."""
    size, multiple = processor.size, processor.ensure_multiple_of or 1
    if not processor.do_resize:
        return ()
    if not (size.height and size.width):
        raise UnreadRecipe(f"size={dict(size)}")
    if processor.keep_aspect_ratio:
        return (resize_to(processor, "nearest-scale", size.height, size.width, multiple=multiple),)
    if size.height % multiple or size.width % multiple:
        raise UnreadRecipe(f"size={dict(size)}, which is no multiple of {multiple}")
    return (resize_to(processor, "exact", size.height, size.width),)


def capped(processor: Any) -> tuple[Resize, ...]:
    """The resize of DETR and similar models, which want both edges."""
    if processor.do_resize and processor.size.shortest_edge and not processor.size.longest_edge:
        raise UnreadRecipe(f"size={dict(processor.size)}")
    return resized(processor)


def resize_to(processor: Any, rule: SizeRule, height: int, width: int | None = None, *, multiple: int = 1) -> Resize:
    """A resize by a rule, with the kernel of the settings; without a width it is as the height."""
    return Resize(rule, (height, height if width is None else width), _mode(processor.resample), multiple)


def _mode(resample: Any) -> Resample:
    mode = "bilinear" if resample is None else getattr(resample, "value", resample)
    mode = _RESAMPLE[mode] if isinstance(mode, int) else str(mode).removesuffix("-exact")
    # torchvision's plain nearest picks other pixels than Pillow's, and the reference keeps the two apart.
    if str(getattr(resample, "value", "")) == "nearest" or not torch_resamples(mode):
        raise UnreadRecipe(f"resample={resample!r}, which this torchvision cannot do exactly")
    return cast("Resample", mode)


def cropped(processor: Any) -> tuple[Step, ...]:
    """TorchvisionBackend.center_crop."""
    if not processor.do_center_crop:
        return ()
    return (CenterCrop((processor.crop_size.height, processor.crop_size.width)),)


def arithmetic_of(processor: Any) -> tuple[Operation, ...]:
    """TorchvisionBackend.rescale_and_normalize."""
    if processor.do_normalize:
        return normalized(processor, unscale=1.0 / processor.rescale_factor if processor.do_rescale else None)
    return (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()


def normalized(processor: Any, *, unscale: float | None = None) -> tuple[Operation, ...]:
    """Minus the mean, by the standard deviation; both times `unscale` where bytes are not rescaled before."""
    mean, std = processor.image_mean, processor.image_std
    if unscale is not None:  # as the reference fuses them: float32 tensors times a number
        mean, std = ((torch.tensor(values) * unscale).tolist() for values in (mean, std))
    return operation("subtract", mean), operation("divide", std)


def operation(operator: Any, values: float | Sequence[float]) -> Operation:
    """With one value where those of all channels are alike."""
    listed = (float(values),) if isinstance(values, (int, float)) else tuple(float(value) for value in values)
    if operator == "divide" and 0 in listed:
        raise UnreadRecipe("a standard deviation of 0")
    return Operation(operator, listed[:1] if len(listed) == 3 and len(set(listed)) == 1 else listed)


def padded(processor: Any, recipe: Recipe) -> Recipe:
    """TorchvisionBackend.pad, which comes after the arithmetic."""
    if not processor.do_pad:
        return recipe
    size = processor.pad_size
    pad_to = None if size is None else (int(size.height), int(size.width))
    return Recipe(recipe.geometry, recipe.arithmetic, pad_to=pad_to, pad_batch=pad_to is None)


def masked(processor: Any, recipe: Recipe) -> Recipe:
    """The padding of DETR and similar models: it comes with a mask that tells it from the picture."""
    recipe = padded(processor, recipe)
    return replace(recipe, pixel_mask=True) if processor.do_pad else recipe
