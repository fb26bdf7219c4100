"""Recipes of Transformers' image processors that have steps of their own, read from their settings, a reader a kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sensorium.processors.borders import PadReflected, PadSquare, PadSymmetric
from sensorium.processors.box_crop import BoxCrop
from sensorium.processors.geometry import (
    CenterCrop,
    CropToRatio,
    FlipChannels,
    Step,
    ToFloat,
    ToGrey,
)
from sensorium.processors.recipe import Operation, Recipe
from sensorium.processors.recipe_settings import (
    UnreadRecipe,
    arithmetic_of,
    capped,
    cropped,
    masked,
    normalized,
    operation,
    padded,
    resize_to,
    resized,
    scaled_nearest,
)

_DETR = {"_preprocess", "pad", "preprocess", "resize"}
_PAIRS = {"_prepare_images_structure", "_preprocess", "preprocess"}
# These three sort segmentation maps from pictures, and leave the pictures as they are.
_MAPS = {"preprocess", "_preprocess_image_like_inputs", "_preprocess"}


def read_base(processor: Any) -> Recipe:
    """The recipe of a processor with TorchvisionBackend's own steps."""
    return padded(processor, Recipe((*resized(processor), *cropped(processor)), arithmetic_of(processor)))


def read_unpadded(processor: Any) -> Recipe:
    """The recipe of a processor that never pads, as those of films."""
    return Recipe((*resized(processor), *cropped(processor)), arithmetic_of(processor))


def _read_segformer(processor: Any) -> Recipe:
    return Recipe(resized(processor), arithmetic_of(processor))


def _read_convnext(processor: Any) -> Recipe:
    edge = processor.size.shortest_edge
    resize: tuple[Step, ...] = ()
    if processor.do_resize and edge < 384:
        resize = (resize_to(processor, "shortest", int(edge / processor.crop_pct)), CenterCrop((edge, edge)))
    elif processor.do_resize:
        resize = (resize_to(processor, "exact", edge),)
    return Recipe((*resize, *cropped(processor)), arithmetic_of(processor))


def _read_levit(processor: Any) -> Recipe:
    edge = processor.size.shortest_edge
    if not processor.do_resize:
        return read_base(processor)
    if edge:
        resize = resize_to(processor, "shortest", int((256 / 224) * edge))
    else:
        resize = resize_to(processor, "exact", processor.size.height, processor.size.width)
    return padded(processor, Recipe((resize, *cropped(processor)), arithmetic_of(processor)))


def _read_poolformer(processor: Any) -> Recipe:
    size, pct = processor.size, processor.crop_pct
    if not processor.do_resize or pct is None:
        return read_base(processor)
    if size.shortest_edge or size.height == size.width:
        resize = resize_to(processor, "shortest", int((size.shortest_edge or size.height) / pct))
    else:
        resize = resize_to(processor, "exact", int(size.height / pct), int(size.width / pct))
    return padded(processor, Recipe((resize, *cropped(processor)), arithmetic_of(processor)))


def _read_textnet(processor: Any) -> Recipe:
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        edge, multiple = processor.size.shortest_edge, processor.size_divisor
        resize = (resize_to(processor, "shortest", edge, multiple=multiple),)
    return Recipe((*resize, *cropped(processor)), arithmetic_of(processor))


def _read_pplcnet(processor: Any) -> Recipe:
    resize = resized(processor)
    if processor.do_resize and processor.resize_short is not None:
        multiple = processor.size_divisor or 1
        resize = (resize_to(processor, "shortest-rounded", processor.resize_short, multiple=multiple),)
    # The reference normalises RGB and turns it to BGR after that; here the channels turn first, and so do their means.
    arithmetic = tuple(Operation(one.operator, one.values[::-1]) for one in arithmetic_of(processor))
    return Recipe((*resize, *cropped(processor), FlipChannels()), arithmetic)


def _read_perceiver(processor: Any) -> Recipe:
    crop: tuple[Step, ...] = ()
    if processor.do_center_crop:
        size, of = processor.size, processor.crop_size
        crop = (CropToRatio((size.height / of.height, size.width / of.width)),)
    return Recipe((*crop, *resized(processor)), arithmetic_of(processor))


def _read_mobilevit(processor: Any) -> Recipe:
    flip = (FlipChannels(),) if processor.do_flip_channel_order else ()
    arithmetic = (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe((*resized(processor), *cropped(processor), *flip), arithmetic)


def _read_efficientnet(processor: Any) -> Recipe:
    arithmetic = arithmetic_of(processor)
    if processor.do_rescale and processor.rescale_offset:
        rescale = (operation("multiply", processor.rescale_factor), operation("subtract", 1.0))
        arithmetic = (*rescale, *(normalized(processor) if processor.do_normalize else ()))
    if processor.include_top:
        if not (processor.do_rescale or processor.do_normalize):
            raise UnreadRecipe("include_top without rescale or normalize")
        arithmetic = (*arithmetic, operation("divide", processor.image_std))
    return Recipe((*resized(processor), *cropped(processor)), arithmetic)


def _read_dinov3(processor: Any) -> Recipe:
    # It rescales before it resizes, so nothing is rounded to grey levels; the factor itself can wait for the batch.
    if processor.do_normalize and not processor.do_rescale:
        raise UnreadRecipe("normalize without rescale")
    rescale = (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    normalize = normalized(processor) if processor.do_normalize else ()
    in_floats = (ToFloat(),) if processor.do_rescale else ()
    return Recipe((*in_floats, *resized(processor), *cropped(processor)), (*rescale, *normalize))


def _read_sapiens2(processor: Any) -> Recipe:
    if not (processor.do_resize and processor.do_pad):
        return read_unpadded(processor)
    height, width = processor.size.height, processor.size.width
    fitted = (resize_to(processor, "within", height, width), CenterCrop((height, width)))
    return Recipe((*fitted, *cropped(processor)), arithmetic_of(processor))


def _read_detr(processor: Any) -> Recipe:
    return masked(processor, Recipe(capped(processor), arithmetic_of(processor)))


def _read_yolos(processor: Any) -> Recipe:
    resize, size = capped(processor), processor.size
    if processor.do_resize and size.shortest_edge and size.longest_edge:
        resize = (resize_to(processor, "shortest-capped-16", size.shortest_edge, size.longest_edge),)
    return masked(processor, Recipe(resize, arithmetic_of(processor)))


def _read_rf_detr(processor: Any) -> Recipe:
    # It rescales before it resizes, as DINOv3's does, and resizes without antialiasing, as RF-DETR's own code does;
    # Transformers 5.17 did not, and prepared pictures one by one.
    if "disable_grouping" not in inspect.signature(type(processor)._preprocess).parameters:
        raise UnreadRecipe("it resizes with antialiasing before Transformers 5.18")
    in_floats = tuple(step for step in _read_dinov3(processor).geometry if isinstance(step, ToFloat))
    resize = tuple(replace(step, antialias=False) for step in capped(processor))
    return masked(processor, Recipe((*in_floats, *resize), _read_dinov3(processor).arithmetic))


def _read_mask_former(processor: Any) -> Recipe:
    # It pads whatever do_pad says, and always gives the mask.
    resize, size = capped(processor), processor.pad_size
    if processor.size_divisor:
        resize = tuple(replace(step, multiple=processor.size_divisor) for step in resize)
    pad_to = None if size is None else (int(size.height), int(size.width))
    return Recipe(resize, arithmetic_of(processor), pad_to=pad_to, pad_batch=pad_to is None, pixel_mask=True)


def _read_dpt(processor: Any) -> Recipe:
    if processor.do_pad and processor.size_divisor:
        raise UnreadRecipe("it pads all around")
    return Recipe((*scaled_nearest(processor), *cropped(processor)), arithmetic_of(processor))


def _read_zoedepth(processor: Any) -> Recipe:
    # It rescales before it pads and resizes; the factor itself can wait for the batch, as DINOv3's.
    if not processor.do_rescale:
        raise UnreadRecipe("no rescale, so that it pads and resizes bytes")
    border = (PadReflected(),) if processor.do_pad else ()
    resize = tuple(replace(step, align_corners=True) for step in scaled_nearest(processor))
    return Recipe((ToFloat(), *border, *resize), _read_dinov3(processor).arithmetic)


def _read_glpn(processor: Any) -> Recipe:
    resize = (resize_to(processor, "floored", processor.size_divisor),) if processor.do_resize else ()
    return Recipe(resize, arithmetic_of(processor))


def _read_depth_pro(processor: Any) -> Recipe:
    # It normalises before it resizes, without antialiasing.
    in_floats = (ToFloat(),) if processor.do_rescale or processor.do_normalize else ()
    resize = tuple(replace(step, antialias=False) for step in resized(processor))
    return Recipe((*in_floats, *resize), arithmetic_of(processor))


def _read_owlv2(processor: Any) -> Recipe:
    # It rescales before all else, as DINOv3's does, and resizes bilinearly whatever its settings say.
    if not processor.do_rescale:
        raise UnreadRecipe("no rescale, so that it blurs bytes")
    square = (PadSquare(),) if processor.do_pad else ()
    resize = tuple(replace(step, mode="bilinear", blur=True) for step in resized(processor))
    if any(step.rule != "exact" for step in resize):
        raise UnreadRecipe(f"size={dict(processor.size)}")
    return Recipe((ToFloat(), *square, *resize), _read_dinov3(processor).arithmetic)


def _read_superpoint(processor: Any) -> Recipe:
    grey = (ToGrey(),) if processor.do_grayscale else ()
    arithmetic = (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe((*grey, *resized(processor)), arithmetic)


def _read_superglue(processor: Any) -> Recipe:
    # It takes pairs, and does to each of the two what it would do to it alone.
    if processor.do_grayscale and not processor.do_rescale:
        raise UnreadRecipe("grayscale without rescale, which rounds to grey levels")
    arithmetic = (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe(resized(processor), arithmetic, grey=bool(processor.do_grayscale))


def _read_sam(processor: Any) -> Recipe:
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        resize = (resize_to(processor, "longest", processor.size.longest_edge),)
    return padded(processor, Recipe((*resize, *cropped(processor)), arithmetic_of(processor)))


def _read_vivit(processor: Any) -> Recipe:
    # It rescales to [-1, 1] before it normalises.
    rescale = (operation("multiply", processor.rescale_factor), operation("subtract", 1.0))
    normalize = normalized(processor) if processor.do_normalize else ()
    arithmetic = (*(rescale if processor.do_rescale else ()), *normalize)
    return replace(read_unpadded(processor), arithmetic=arithmetic)


def _read_swin2sr(processor: Any) -> Recipe:
    # It pads a side that needs no padding, too.
    border = (PadSymmetric(int(processor.size_divisor), always=True),) if processor.do_pad else ()
    return Recipe(border, (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ())


def _read_vilt(processor: Any) -> Recipe:
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        edge = processor.size.shortest_edge
        # The cap is COCO's: 1333 px for an edge of 800 px.
        sides = (edge, int(1333 / 800 * edge))
        resize = (resize_to(processor, "shortest-floored", *sides, multiple=processor.size_divisor or 1),)
    pads = bool(processor.do_pad)
    return Recipe(resize, arithmetic_of(processor), pad_batch=pads, pixel_mask=pads)


def _read_vitpose(processor: Any) -> Recipe:
    if not processor.do_affine_transform or processor.normalize_factor != 200:
        raise UnreadRecipe("it cuts no windows out, or others than those in which it finds joints again")
    return Recipe((BoxCrop((processor.size.height, processor.size.width)),), arithmetic_of(processor))


OVERRIDES: dict[str, tuple[Callable[[Any], Recipe], set[str]]] = {
    "BeitImageProcessor": (read_unpadded, _MAPS),
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
    "GroundingDinoImageProcessor": (_read_detr, _DETR),
    "LevitImageProcessor": (_read_levit, {"resize"}),
    "LightGlueImageProcessor": (_read_superglue, _PAIRS),
    "Mask2FormerImageProcessor": (_read_mask_former, {*_MAPS, "pad", "resize"}),
    "MaskFormerImageProcessor": (_read_mask_former, {*_MAPS, "pad", "resize"}),
    "MobileNetV2ImageProcessor": (read_unpadded, _MAPS),
    "MobileViTImageProcessor": (_read_mobilevit, _MAPS),
    "Owlv2ImageProcessor": (_read_owlv2, {"_preprocess", "pad", "resize"}),
    "PPLCNetImageProcessor": (_read_pplcnet, {"_preprocess"}),
    "PerceiverImageProcessor": (_read_perceiver, {"_preprocess", "center_crop"}),
    "PoolFormerImageProcessor": (_read_poolformer, {"_preprocess", "resize"}),
    "PromptDepthAnythingImageProcessor": (_read_dpt, _MAPS),
    "RTDetrImageProcessor": (_read_detr, _DETR),
    "RfDetrImageProcessor": (_read_rf_detr, _DETR),
    "Sam2ImageProcessor": (read_base, {*_MAPS, "_standardize_kwargs"}),
    "Sam3ImageProcessor": (read_base, {*_MAPS, "_standardize_kwargs"}),
    "SamImageProcessor": (_read_sam, {*_MAPS, "_standardize_kwargs", "resize"}),
    "Sapiens2ImageProcessor": (_read_sapiens2, _MAPS),
    "SegformerImageProcessor": (_read_segformer, _MAPS),
    "SuperGlueImageProcessor": (_read_superglue, _PAIRS),
    "SuperPointImageProcessor": (_read_superpoint, {"_preprocess"}),
    "Swin2SRImageProcessor": (_read_swin2sr, {"_preprocess", "pad", "preprocess"}),
    "TextNetImageProcessor": (_read_textnet, {"_preprocess", "preprocess", "resize"}),
    "TimesformerVideoProcessor": (read_unpadded, {"preprocess"}),
    "VideoMAEVideoProcessor": (read_unpadded, {"preprocess"}),
    "ViltImageProcessor": (_read_vilt, {"_preprocess", "resize"}),
    "VivitVideoProcessor": (_read_vivit, {"preprocess", "rescale_and_normalize"}),
    "VitPoseImageProcessor": (_read_vitpose, _MAPS),
    "YolosImageProcessor": (_read_yolos, _DETR),
    "ZoeDepthImageProcessor": (_read_zoedepth, {"_preprocess", "preprocess", "resize"}),
}
"""Classes that override some of TorchvisionBackend's steps: how each is read, and exactly which steps those are."""
