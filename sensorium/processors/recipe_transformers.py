"""Reads a recipe out of a Transformers image processor.

A class that inherits all of TorchvisionBackend's own steps is read generically. A class that overrides some is read
only if it stands in `_OVERRIDES`, with exactly the methods that it is known to override. Anything else is not read at
all: `UnreadRecipe` is raised, and the processor itself runs.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from sensorium.errors import CheckpointError
from sensorium.processors.geometry import (
    MOST_PIXELS,
    MOST_PX,
    CenterCrop,
    CropToRatio,
    FlipChannels,
    PadReflected,
    Resize,
    Step,
    ToFloat,
    ToGrey,
)
from sensorium.processors.image_resampling import Resample, SizeRule, torch_resamples
from sensorium.processors.recipe import Operation, Recipe

# What the values of a TorchvisionBackend's `pixel_values` depend on, besides its attributes.
_STEPS = (
    "__call__",
    "_fuse_mean_std_and_rescale_factor",
    "_prepare_image_like_inputs",
    "_prepare_images_structure",
    "_preprocess",
    "_preprocess_image_like_inputs",
    "_standardize_kwargs",
    "_validate_preprocess_kwargs",
    "center_crop",
    "convert_to_rgb",
    "fetch_images",
    "normalize",
    "pad",
    "preprocess",
    "process_image",
    "rescale",
    "rescale_and_normalize",
    "resize",
)
_DETR = {"_preprocess", "pad", "preprocess", "resize"}
_PAIRS = {"_prepare_images_structure", "_preprocess", "preprocess"}
# These three sort segmentation maps from pictures, and leave the pictures as they are.
_MAPS = {"preprocess", "_preprocess_image_like_inputs", "_preprocess"}

_RESAMPLE: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers


class UnreadRecipe(Exception):  # noqa: N818 - it never leaves the package
    """A processor whose recipe is not known for certain; the message says why."""


def read_transformers(processor: Any) -> Recipe:
    """Read the recipe of a loaded Transformers image processor.

    Args:
        processor: an image processor object.

    Raises:
        Unread: its class, or one of its settings, is not one that is known to be read exactly.
    """
    from transformers.image_processing_backends import TorchvisionBackend

    if not isinstance(processor, TorchvisionBackend):
        raise UnreadRecipe("it is not a torchvision-backed image processor")
    cls = type(processor)
    changed = {name for name in _STEPS if getattr(cls, name) is not getattr(TorchvisionBackend, name)}
    changed |= {name for name in _STEPS if name in vars(processor)}
    read = _reader_of(cls, changed) if changed else _read_base
    try:
        return read(processor)
    except (CheckpointError, AttributeError, TypeError, ValueError) as error:
        raise UnreadRecipe(f"a setting is not as expected: {error}") from error


def check_edges(processor: Any) -> None:
    """Refuses an image processor whose settings ask for pictures larger than any model takes, whoever runs it.

    Args:
        processor: an image processor object.

    Raises:
        CheckpointError: an edge is too long; names the setting.
    """
    areas = hasattr(type(processor), "merge_size")  # whose edges are numbers of pixels, as Qwen's are
    for name in ("size", "crop_size", "pad_size"):
        size: Any = getattr(processor, name, None)
        whole = size is None or isinstance(size, (int, float, str, list, tuple))
        sides: dict[str, Any] = {"": size} if whole else dict(size)
        longest = max((side for side in sides.values() if isinstance(side, (int, float))), default=0)
        fixed = [side for side in (sides.get("height"), sides.get("width")) if isinstance(side, (int, float))]
        pixels = math.prod(fixed) if len(fixed) == 2 else 0
        if (longest >= MOST_PX and not areas) or pixels > MOST_PIXELS:
            raise CheckpointError(
                f"{name} of {type(processor).__name__} should be at most {MOST_PX - 1:,} px on a side, and "
                f"{MOST_PIXELS:,} px in all, got {sides!r:.120}. Correct the checkpoint's preprocessor_config.json, or "
                "pass processor=."
            )


def _reader_of(cls: type, changed: set[str]) -> Callable[[Any], Recipe]:
    """The reader of a class of Transformers that overrides exactly these steps."""
    if not cls.__module__.startswith("transformers.models."):
        raise UnreadRecipe(f"it is not Transformers' own class, and has its own {', '.join(sorted(changed))}")
    read, overridden = _OVERRIDES.get(cls.__name__, (None, set()))
    if read is None or changed != overridden:
        raise UnreadRecipe(f"it has its own {', '.join(sorted(changed))}")
    return read


def _read_base(processor: Any) -> Recipe:
    return _padded(processor, Recipe((*_resize(processor), *_crop(processor)), _arithmetic(processor)))


def _read_unpadded(processor: Any) -> Recipe:
    return Recipe((*_resize(processor), *_crop(processor)), _arithmetic(processor))


def _read_segformer(processor: Any) -> Recipe:
    return Recipe(_resize(processor), _arithmetic(processor))


def _read_convnext(processor: Any) -> Recipe:
    edge = processor.size.shortest_edge
    resize: tuple[Step, ...] = ()
    if processor.do_resize and edge < 384:
        resize = (_to(processor, "shortest", int(edge / processor.crop_pct)), CenterCrop((edge, edge)))
    elif processor.do_resize:
        resize = (_to(processor, "exact", edge),)
    return Recipe((*resize, *_crop(processor)), _arithmetic(processor))


def _read_levit(processor: Any) -> Recipe:
    edge = processor.size.shortest_edge
    if not processor.do_resize:
        return _read_base(processor)
    if edge:
        resize = _to(processor, "shortest", int((256 / 224) * edge))
    else:
        resize = _to(processor, "exact", processor.size.height, processor.size.width)
    return _padded(processor, Recipe((resize, *_crop(processor)), _arithmetic(processor)))


def _read_poolformer(processor: Any) -> Recipe:
    size, pct = processor.size, processor.crop_pct
    if not processor.do_resize or pct is None:
        return _read_base(processor)
    if size.shortest_edge or size.height == size.width:
        resize = _to(processor, "shortest", int((size.shortest_edge or size.height) / pct))
    else:
        resize = _to(processor, "exact", int(size.height / pct), int(size.width / pct))
    return _padded(processor, Recipe((resize, *_crop(processor)), _arithmetic(processor)))


def _read_textnet(processor: Any) -> Recipe:
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        edge, multiple = processor.size.shortest_edge, processor.size_divisor
        resize = (_to(processor, "shortest", edge, multiple=multiple),)
    return Recipe((*resize, *_crop(processor)), _arithmetic(processor))


def _read_pplcnet(processor: Any) -> Recipe:
    resize = _resize(processor)
    if processor.do_resize and processor.resize_short is not None:
        multiple = processor.size_divisor or 1
        resize = (_to(processor, "shortest-rounded", processor.resize_short, multiple=multiple),)
    # The reference normalises RGB and turns it to BGR after that; here the channels turn first, and so do their means.
    arithmetic = tuple(Operation(one.operator, one.values[::-1]) for one in _arithmetic(processor))
    return Recipe((*resize, *_crop(processor), FlipChannels()), arithmetic)


def _read_perceiver(processor: Any) -> Recipe:
    crop: tuple[Step, ...] = ()
    if processor.do_center_crop:
        size, of = processor.size, processor.crop_size
        crop = (CropToRatio((size.height / of.height, size.width / of.width)),)
    return Recipe((*crop, *_resize(processor)), _arithmetic(processor))


def _read_mobilevit(processor: Any) -> Recipe:
    flip = (FlipChannels(),) if processor.do_flip_channel_order else ()
    arithmetic = (_operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe((*_resize(processor), *_crop(processor), *flip), arithmetic)


def _read_efficientnet(processor: Any) -> Recipe:
    arithmetic = _arithmetic(processor)
    if processor.do_rescale and processor.rescale_offset:
        rescale = (_operation("multiply", processor.rescale_factor), _operation("subtract", 1.0))
        arithmetic = (*rescale, *(_normalize(processor) if processor.do_normalize else ()))
    if processor.include_top:
        if not (processor.do_rescale or processor.do_normalize):
            raise UnreadRecipe("include_top without rescale or normalize")
        arithmetic = (*arithmetic, _operation("divide", processor.image_std))
    return Recipe((*_resize(processor), *_crop(processor)), arithmetic)


def _read_dinov3(processor: Any) -> Recipe:
    # It rescales before it resizes, so nothing is rounded to grey levels; the factor itself can wait for the batch.
    if processor.do_normalize and not processor.do_rescale:
        raise UnreadRecipe("normalize without rescale")
    rescale = (_operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    normalize = _normalize(processor) if processor.do_normalize else ()
    in_floats = (ToFloat(),) if processor.do_rescale else ()
    return Recipe((*in_floats, *_resize(processor), *_crop(processor)), (*rescale, *normalize))


def _read_sapiens2(processor: Any) -> Recipe:
    if not (processor.do_resize and processor.do_pad):
        return _read_unpadded(processor)
    height, width = processor.size.height, processor.size.width
    fitted = (_to(processor, "within", height, width), CenterCrop((height, width)))
    return Recipe((*fitted, *_crop(processor)), _arithmetic(processor))


def _read_detr(processor: Any) -> Recipe:
    return _masked(processor, Recipe(_capped(processor), _arithmetic(processor)))


def _read_yolos(processor: Any) -> Recipe:
    resize, size = _capped(processor), processor.size
    if processor.do_resize and size.shortest_edge and size.longest_edge:
        resize = (_to(processor, "shortest-capped-16", size.shortest_edge, size.longest_edge),)
    return _masked(processor, Recipe(resize, _arithmetic(processor)))


def _read_rf_detr(processor: Any) -> Recipe:
    # It rescales before it resizes, as DINOv3's does, and resizes without antialiasing, as RF-DETR's own code does;
    # Transformers 5.17 did not, and prepared pictures one by one.
    if "disable_grouping" not in inspect.signature(type(processor)._preprocess).parameters:
        raise UnreadRecipe("it resizes with antialiasing before Transformers 5.18")
    in_floats = tuple(step for step in _read_dinov3(processor).geometry if isinstance(step, ToFloat))
    resize = tuple(replace(step, antialias=False) for step in _capped(processor))
    return _masked(processor, Recipe((*in_floats, *resize), _read_dinov3(processor).arithmetic))


def _read_mask_former(processor: Any) -> Recipe:
    # It pads whatever do_pad says, and always gives the mask.
    resize, size = _capped(processor), processor.pad_size
    if processor.size_divisor:
        resize = tuple(replace(step, multiple=processor.size_divisor) for step in resize)
    pad_to = None if size is None else (int(size.height), int(size.width))
    return Recipe(resize, _arithmetic(processor), pad_to=pad_to, pad_batch=pad_to is None, pixel_mask=True)


def _read_dpt(processor: Any) -> Recipe:
    if processor.do_pad and processor.size_divisor:
        raise UnreadRecipe("it pads all around")
    return Recipe((*_nearest_scale(processor), *_crop(processor)), _arithmetic(processor))


def _read_zoedepth(processor: Any) -> Recipe:
    # It rescales before it pads and resizes; the factor itself can wait for the batch, as DINOv3's.
    if not processor.do_rescale:
        raise UnreadRecipe("no rescale, so that it pads and resizes bytes")
    border = (PadReflected(),) if processor.do_pad else ()
    resize = tuple(replace(step, align_corners=True) for step in _nearest_scale(processor))
    return Recipe((ToFloat(), *border, *resize), _read_dinov3(processor).arithmetic)


def _read_glpn(processor: Any) -> Recipe:
    resize = (_to(processor, "floored", processor.size_divisor),) if processor.do_resize else ()
    return Recipe(resize, _arithmetic(processor))


def _read_depth_pro(processor: Any) -> Recipe:
    # It normalises before it resizes, without antialiasing.
    in_floats = (ToFloat(),) if processor.do_rescale or processor.do_normalize else ()
    resize = tuple(replace(step, antialias=False) for step in _resize(processor))
    return Recipe((*in_floats, *resize), _arithmetic(processor))


def _read_superpoint(processor: Any) -> Recipe:
    grey = (ToGrey(),) if processor.do_grayscale else ()
    arithmetic = (_operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe((*grey, *_resize(processor)), arithmetic)


def _read_superglue(processor: Any) -> Recipe:
    # It takes pairs, and does to each of the two what it would do to it alone.
    if processor.do_grayscale and not processor.do_rescale:
        raise UnreadRecipe("grayscale without rescale, which rounds to grey levels")
    arithmetic = (_operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe(_resize(processor), arithmetic, grey=bool(processor.do_grayscale))


def _read_sam(processor: Any) -> Recipe:
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        resize = (_to(processor, "longest", processor.size.longest_edge),)
    return _padded(processor, Recipe((*resize, *_crop(processor)), _arithmetic(processor)))


def _read_vilt(processor: Any) -> Recipe:
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        edge = processor.size.shortest_edge
        # The cap is COCO's: 1333 px for an edge of 800 px.
        sides = (edge, int(1333 / 800 * edge))
        resize = (_to(processor, "shortest-floored", *sides, multiple=processor.size_divisor or 1),)
    padded = bool(processor.do_pad)
    return Recipe(resize, _arithmetic(processor), pad_batch=padded, pixel_mask=padded)


_OVERRIDES: dict[str, tuple[Callable[[Any], Recipe], set[str]]] = {
    "BeitImageProcessor": (_read_unpadded, _MAPS),
    "ConditionalDetrImageProcessor": (_read_detr, _DETR),
    "ConvNextImageProcessor": (_read_convnext, {"_preprocess", "resize"}),
    "DINOv3ViTImageProcessor": (_read_dinov3, {"_preprocess"}),
    "DPTImageProcessor": (_read_dpt, {*_MAPS, "resize"}),
    "DeformableDetrImageProcessor": (_read_detr, _DETR),
    "DepthProImageProcessor": (_read_depth_pro, {"_preprocess"}),
    "DetrImageProcessor": (_read_detr, _DETR),
    "EfficientNetImageProcessor": (
        _read_efficientnet,
        {"_fuse_mean_std_and_rescale_factor", "_preprocess", "rescale"},
    ),
    "GLPNImageProcessor": (_read_glpn, {"_preprocess", "_validate_preprocess_kwargs", "preprocess", "resize"}),
    "LevitImageProcessor": (_read_levit, {"resize"}),
    "LightGlueImageProcessor": (_read_superglue, _PAIRS),
    "Mask2FormerImageProcessor": (_read_mask_former, {*_MAPS, "pad", "resize"}),
    "MaskFormerImageProcessor": (_read_mask_former, {*_MAPS, "pad", "resize"}),
    "MobileNetV2ImageProcessor": (_read_unpadded, _MAPS),
    "MobileViTImageProcessor": (_read_mobilevit, _MAPS),
    "PPLCNetImageProcessor": (_read_pplcnet, {"_preprocess"}),
    "PerceiverImageProcessor": (_read_perceiver, {"_preprocess", "center_crop"}),
    "PoolFormerImageProcessor": (_read_poolformer, {"_preprocess", "resize"}),
    "PromptDepthAnythingImageProcessor": (_read_dpt, _MAPS),
    "RTDetrImageProcessor": (_read_detr, _DETR),
    "RfDetrImageProcessor": (_read_rf_detr, _DETR),
    "Sam2ImageProcessor": (_read_base, {*_MAPS, "_standardize_kwargs"}),
    "SamImageProcessor": (_read_sam, {*_MAPS, "_standardize_kwargs", "resize"}),
    "Sapiens2ImageProcessor": (_read_sapiens2, _MAPS),
    "SegformerImageProcessor": (_read_segformer, _MAPS),
    "SuperGlueImageProcessor": (_read_superglue, _PAIRS),
    "SuperPointImageProcessor": (_read_superpoint, {"_preprocess"}),
    "TextNetImageProcessor": (_read_textnet, {"_preprocess", "preprocess", "resize"}),
    "ViltImageProcessor": (_read_vilt, {"_preprocess", "resize"}),
    "YolosImageProcessor": (_read_yolos, _DETR),
    "ZoeDepthImageProcessor": (_read_zoedepth, {"_preprocess", "preprocess", "resize"}),
}


def _resize(processor: Any) -> tuple[Resize, ...]:
    """TorchvisionBackend.resize."""
    if not processor.do_resize:
        return ()
    size = processor.size
    if size.shortest_edge and size.longest_edge:
        return (_to(processor, "shortest-capped", size.shortest_edge, size.longest_edge),)
    if size.shortest_edge:
        return (_to(processor, "shortest", size.shortest_edge),)
    if size.max_height and size.max_width:
        return (_to(processor, "within", size.max_height, size.max_width),)
    if size.height and size.width:
        return (_to(processor, "exact", size.height, size.width),)
    raise UnreadRecipe(f"size={dict(size)}")


def _nearest_scale(processor: Any) -> tuple[Resize, ...]:
    """The resize of DPT and similar models: to a size, or to one of about that which keeps the shape."""
    size, multiple = processor.size, processor.ensure_multiple_of or 1
    if not processor.do_resize:
        return ()
    if not (size.height and size.width):
        raise UnreadRecipe(f"size={dict(size)}")
    if processor.keep_aspect_ratio:
        return (_to(processor, "nearest-scale", size.height, size.width, multiple=multiple),)
    if size.height % multiple or size.width % multiple:
        raise UnreadRecipe(f"size={dict(size)}, which is no multiple of {multiple}")
    return (_to(processor, "exact", size.height, size.width),)


def _capped(processor: Any) -> tuple[Resize, ...]:
    """The resize of DETR and similar models, which want both edges."""
    if processor.do_resize and processor.size.shortest_edge and not processor.size.longest_edge:
        raise UnreadRecipe(f"size={dict(processor.size)}")
    return _resize(processor)


def _to(processor: Any, rule: SizeRule, height: int, width: int | None = None, *, multiple: int = 1) -> Resize:
    return Resize(rule, (height, height if width is None else width), _mode(processor.resample), multiple)


def _mode(resample: Any) -> Resample:
    mode = "bilinear" if resample is None else getattr(resample, "value", resample)
    mode = _RESAMPLE[mode] if isinstance(mode, int) else str(mode).removesuffix("-exact")
    # torchvision's plain nearest picks other pixels than Pillow's, and the reference keeps the two apart.
    if str(getattr(resample, "value", "")) == "nearest" or not torch_resamples(mode):
        raise UnreadRecipe(f"resample={resample!r}, which this torchvision cannot do exactly")
    return cast("Resample", mode)


def _crop(processor: Any) -> tuple[Step, ...]:
    """TorchvisionBackend.center_crop."""
    if not processor.do_center_crop:
        return ()
    return (CenterCrop((processor.crop_size.height, processor.crop_size.width)),)


def _arithmetic(processor: Any) -> tuple[Operation, ...]:
    """TorchvisionBackend.rescale_and_normalize."""
    if processor.do_normalize:
        return _normalize(processor, unscale=1.0 / processor.rescale_factor if processor.do_rescale else None)
    return (_operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()


def _normalize(processor: Any, *, unscale: float | None = None) -> tuple[Operation, ...]:
    mean, std = processor.image_mean, processor.image_std
    if unscale is not None:  # as the reference fuses them: float32 tensors times a number
        mean, std = ((torch.tensor(values) * unscale).tolist() for values in (mean, std))
    return _operation("subtract", mean), _operation("divide", std)


def _operation(operator: Any, values: float | Sequence[float]) -> Operation:
    listed = (float(values),) if isinstance(values, (int, float)) else tuple(float(value) for value in values)
    if operator == "divide" and 0 in listed:
        raise UnreadRecipe("a standard deviation of 0")
    return Operation(operator, listed[:1] if len(set(listed)) == 1 else listed)


def _padded(processor: Any, recipe: Recipe) -> Recipe:
    """TorchvisionBackend.pad, which comes after the arithmetic."""
    if not processor.do_pad:
        return recipe
    size = processor.pad_size
    pad_to = None if size is None else (int(size.height), int(size.width))
    return Recipe(recipe.geometry, recipe.arithmetic, pad_to=pad_to, pad_batch=pad_to is None)


def _masked(processor: Any, recipe: Recipe) -> Recipe:
    """The padding of DETR and similar models: it comes with a mask that tells it from the picture."""
    padded = _padded(processor, recipe)
    return replace(padded, pixel_mask=True) if processor.do_pad else padded
