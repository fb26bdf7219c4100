"""Recipes of Transformers' image processors for models that find things in a picture, or draw one, a reader a kind."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from sensorium.processors.borders import PadBelow, PadReflected, PadSquare, PadSymmetric
from sensorium.processors.box_crop import BoxCrop
from sensorium.processors.geometry import CenterCrop, Step, ToFloat, ToGrey
from sensorium.processors.recipe import Recipe
from sensorium.processors.recipe_classifiers import read_dinov3, read_unpadded
from sensorium.processors.recipe_settings import (
    UnreadRecipe,
    arithmetic_of,
    capped,
    cropped,
    masked,
    operation,
    padded,
    resize_to,
    resized,
    scaled_nearest,
)


def read_sapiens2(processor: Any) -> Recipe:
    """Of Sapiens 2."""
    if not (processor.do_resize and processor.do_pad):
        return read_unpadded(processor)
    height, width = processor.size.height, processor.size.width
    fitted = (resize_to(processor, "within", height, width), CenterCrop((height, width)))
    return Recipe((*fitted, *cropped(processor)), arithmetic_of(processor))


def read_detr(processor: Any) -> Recipe:
    """Of DETR and its kin."""
    return masked(processor, Recipe(capped(processor), arithmetic_of(processor)))


def read_yolos(processor: Any) -> Recipe:
    """Of YOLOS."""
    resize, size = capped(processor), processor.size
    if processor.do_resize and size.shortest_edge and size.longest_edge:
        resize = (resize_to(processor, "shortest-capped-16", size.shortest_edge, size.longest_edge),)
    return masked(processor, Recipe(resize, arithmetic_of(processor)))


def read_rf_detr(processor: Any) -> Recipe:
    """Of RF-DETR."""
    # It rescales before it resizes, as DINOv3's does, and resizes without antialiasing, as RF-DETR's own code does;
    # Transformers 5.17 did not, and prepared pictures one by one.
    if "disable_grouping" not in inspect.signature(type(processor)._preprocess).parameters:
        raise UnreadRecipe("it resizes with antialiasing before Transformers 5.18")
    in_floats = tuple(step for step in read_dinov3(processor).geometry if isinstance(step, ToFloat))
    resize = tuple(replace(step, antialias=False) for step in capped(processor))
    return masked(processor, Recipe((*in_floats, *resize), read_dinov3(processor).arithmetic))


def read_pp_doclayout(processor: Any) -> Recipe:
    """Of PP-DocLayout V2 and V3, which resize without antialiasing, as OpenCV does."""
    resize = tuple(replace(step, antialias=False) for step in resized(processor))
    return padded(processor, Recipe((*resize, *cropped(processor)), arithmetic_of(processor)))


def read_mask_former(processor: Any) -> Recipe:
    """Of MaskFormer and Mask2Former."""
    # It pads whatever do_pad says, and always gives the mask.
    resize, size = capped(processor), processor.pad_size
    if processor.size_divisor:
        resize = tuple(replace(step, multiple=processor.size_divisor) for step in resize)
    pad_to = None if size is None else (int(size.height), int(size.width))
    return Recipe(resize, arithmetic_of(processor), pad_to=pad_to, pad_batch=pad_to is None, pixel_mask=True)


def read_oneformer(processor: Any) -> Recipe:
    """Of OneFormer, which pads and gives the mask whatever its settings say."""
    return Recipe(capped(processor), arithmetic_of(processor), pad_batch=True, pixel_mask=True)


def read_eomt(processor: Any) -> Recipe:
    """Of EoMT, which sees pictures square by square for classes, and whole in a square for objects."""
    resize, size = resized(processor), processor.size
    if processor.do_split_image:
        if not any(step.rule == "shortest" for step in resize):
            raise UnreadRecipe(f"it cuts squares out of pictures of size={dict(size)}")
        return Recipe(resize, arithmetic_of(processor), squares=True)
    border = (PadBelow((size.shortest_edge, size.longest_edge or size.shortest_edge)),) if processor.do_pad else ()
    return Recipe((*resize, *border), arithmetic_of(processor))


def read_dpt(processor: Any) -> Recipe:
    """Of DPT and its kin."""
    if processor.do_pad and processor.size_divisor:
        raise UnreadRecipe("it pads all around")
    return Recipe((*scaled_nearest(processor), *cropped(processor)), arithmetic_of(processor))


def read_zoedepth(processor: Any) -> Recipe:
    """Of ZoeDepth."""
    # It rescales before it pads and resizes; the factor itself can wait for the batch, as DINOv3's.
    if not processor.do_rescale:
        raise UnreadRecipe("no rescale, so that it pads and resizes bytes")
    border = (PadReflected(),) if processor.do_pad else ()
    resize = tuple(replace(step, align_corners=True) for step in scaled_nearest(processor))
    return Recipe((ToFloat(), *border, *resize), read_dinov3(processor).arithmetic)


def read_glpn(processor: Any) -> Recipe:
    """Of GLPN."""
    resize = (resize_to(processor, "floored", processor.size_divisor),) if processor.do_resize else ()
    return Recipe(resize, arithmetic_of(processor))


def read_depth_pro(processor: Any) -> Recipe:
    """Of DepthPro."""
    # It normalises before it resizes, without antialiasing.
    in_floats = (ToFloat(),) if processor.do_rescale or processor.do_normalize else ()
    resize = tuple(replace(step, antialias=False) for step in resized(processor))
    return Recipe((*in_floats, *resize), arithmetic_of(processor))


def read_owlv2(processor: Any) -> Recipe:
    """Of OWLv2."""
    # It rescales before all else, as DINOv3's does, and resizes bilinearly whatever its settings say.
    if not processor.do_rescale:
        raise UnreadRecipe("no rescale, so that it blurs bytes")
    square = (PadSquare(),) if processor.do_pad else ()
    resize = tuple(replace(step, mode="bilinear", blur=True) for step in resized(processor))
    if any(step.rule != "exact" for step in resize):
        raise UnreadRecipe(f"size={dict(processor.size)}")
    return Recipe((ToFloat(), *square, *resize), read_dinov3(processor).arithmetic)


def read_superpoint(processor: Any) -> Recipe:
    """Of SuperPoint."""
    grey = (ToGrey(),) if processor.do_grayscale else ()
    arithmetic = (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe((*grey, *resized(processor)), arithmetic)


def read_superglue(processor: Any) -> Recipe:
    """Of SuperGlue and LightGlue."""
    # It takes pairs, and does to each of the two what it would do to it alone.
    if processor.do_grayscale and not processor.do_rescale:
        raise UnreadRecipe("grayscale without rescale, which rounds to grey levels")
    arithmetic = (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe(resized(processor), arithmetic, grey=bool(processor.do_grayscale))


def read_sam(processor: Any) -> Recipe:
    """Of SAM."""
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        resize = (resize_to(processor, "longest", processor.size.longest_edge),)
    return padded(processor, Recipe((*resize, *cropped(processor)), arithmetic_of(processor)))


def read_swin2sr(processor: Any) -> Recipe:
    """Of Swin2SR."""
    # It pads a side that needs no padding, too.
    border = (PadSymmetric(int(processor.size_divisor), always=True),) if processor.do_pad else ()
    return Recipe(border, (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ())


def read_vitmatte(processor: Any) -> Recipe:
    """Of ViTMatte."""
    # It pads after the arithmetic; its trimaps, which it puts beside pictures as a fourth channel, are the task's.
    multiple = int(processor.size_divisor) if processor.do_pad else 1
    return Recipe((), arithmetic_of(processor), pad_multiple=multiple)


def read_vitpose(processor: Any) -> Recipe:
    """Of ViTPose."""
    if not processor.do_affine_transform or processor.normalize_factor != 200:
        raise UnreadRecipe("it cuts no windows out, or others than those in which it finds joints again")
    return Recipe((BoxCrop((processor.size.height, processor.size.width)),), arithmetic_of(processor))
