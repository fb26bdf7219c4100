"""Recipes of Transformers' image processors for models that tell what a whole picture shows, a reader a kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sensorium.processors.geometry import CenterCrop, CropToRatio, FlipChannels, Step, ToFloat
from sensorium.processors.patches import Patches
from sensorium.processors.recipe import Operation, Recipe
from sensorium.processors.recipe_settings import (
    UnreadRecipe,
    arithmetic_of,
    cropped,
    normalized,
    operation,
    padded,
    resize_to,
    resized,
)


def read_base(processor: Any) -> Recipe:
    """The recipe of a processor with TorchvisionBackend's own steps."""
    return padded(processor, Recipe((*resized(processor), *cropped(processor)), arithmetic_of(processor)))


def read_unpadded(processor: Any) -> Recipe:
    """The recipe of a processor that never pads, as those of films."""
    return Recipe((*resized(processor), *cropped(processor)), arithmetic_of(processor))


def read_segformer(processor: Any) -> Recipe:
    """Of SegFormer."""
    return Recipe(resized(processor), arithmetic_of(processor))


def read_convnext(processor: Any) -> Recipe:
    """Of ConvNeXt."""
    edge = processor.size.shortest_edge
    resize: tuple[Step, ...] = ()
    if processor.do_resize and edge < 384:
        resize = (resize_to(processor, "shortest", int(edge / processor.crop_pct)), CenterCrop((edge, edge)))
    elif processor.do_resize:
        resize = (resize_to(processor, "exact", edge),)
    return Recipe((*resize, *cropped(processor)), arithmetic_of(processor))


def read_levit(processor: Any) -> Recipe:
    """Of LeViT."""
    edge = processor.size.shortest_edge
    if not processor.do_resize:
        return read_base(processor)
    if edge:
        resize = resize_to(processor, "shortest", int((256 / 224) * edge))
    else:
        resize = resize_to(processor, "exact", processor.size.height, processor.size.width)
    return padded(processor, Recipe((resize, *cropped(processor)), arithmetic_of(processor)))


def read_poolformer(processor: Any) -> Recipe:
    """Of PoolFormer."""
    size, pct = processor.size, processor.crop_pct
    if not processor.do_resize or pct is None:
        return read_base(processor)
    if size.shortest_edge or size.height == size.width:
        resize = resize_to(processor, "shortest", int((size.shortest_edge or size.height) / pct))
    else:
        resize = resize_to(processor, "exact", int(size.height / pct), int(size.width / pct))
    return padded(processor, Recipe((resize, *cropped(processor)), arithmetic_of(processor)))


def read_textnet(processor: Any) -> Recipe:
    """Of TextNet."""
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        edge, multiple = processor.size.shortest_edge, processor.size_divisor
        resize = (resize_to(processor, "shortest", edge, multiple=multiple),)
    return Recipe((*resize, *cropped(processor)), arithmetic_of(processor))


def read_pplcnet(processor: Any) -> Recipe:
    """Of PP-LCNet."""
    resize = resized(processor)
    if processor.do_resize and processor.resize_short is not None:
        multiple = processor.size_divisor or 1
        resize = (resize_to(processor, "shortest-rounded", processor.resize_short, multiple=multiple),)
    # The reference normalises RGB and turns it to BGR after that; here the channels turn first, and so do their means.
    arithmetic = tuple(Operation(one.operator, one.values[::-1]) for one in arithmetic_of(processor))
    return Recipe((*resize, *cropped(processor), FlipChannels()), arithmetic)


def read_perceiver(processor: Any) -> Recipe:
    """Of Perceiver."""
    crop: tuple[Step, ...] = ()
    if processor.do_center_crop:
        size, of = processor.size, processor.crop_size
        crop = (CropToRatio((size.height / of.height, size.width / of.width)),)
    return Recipe((*crop, *resized(processor)), arithmetic_of(processor))


def read_mobilevit(processor: Any) -> Recipe:
    """Of MobileViT."""
    flip = (FlipChannels(),) if processor.do_flip_channel_order else ()
    arithmetic = (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    return Recipe((*resized(processor), *cropped(processor), *flip), arithmetic)


def read_efficientnet(processor: Any) -> Recipe:
    """Of EfficientNet."""
    arithmetic = arithmetic_of(processor)
    if processor.do_rescale and processor.rescale_offset:
        rescale = (operation("multiply", processor.rescale_factor), operation("subtract", 1.0))
        arithmetic = (*rescale, *(normalized(processor) if processor.do_normalize else ()))
    if processor.include_top:
        if not (processor.do_rescale or processor.do_normalize):
            raise UnreadRecipe("include_top without rescale or normalize")
        arithmetic = (*arithmetic, operation("divide", processor.image_std))
    return Recipe((*resized(processor), *cropped(processor)), arithmetic)


def read_dinov3(processor: Any) -> Recipe:
    """Of DINOv3."""
    # It rescales before it resizes, so nothing is rounded to grey levels; the factor itself can wait for the batch.
    if processor.do_normalize and not processor.do_rescale:
        raise UnreadRecipe("normalize without rescale")
    rescale = (operation("multiply", processor.rescale_factor),) if processor.do_rescale else ()
    normalize = normalized(processor) if processor.do_normalize else ()
    in_floats = (ToFloat(),) if processor.do_rescale else ()
    return Recipe((*in_floats, *resized(processor), *cropped(processor)), (*rescale, *normalize))


def read_vilt(processor: Any) -> Recipe:
    """Of ViLT."""
    resize: tuple[Step, ...] = ()
    if processor.do_resize:
        edge = processor.size.shortest_edge
        # The cap is COCO's: 1333 px for an edge of 800 px.
        sides = (edge, int(1333 / 800 * edge))
        resize = (resize_to(processor, "shortest-floored", *sides, multiple=processor.size_divisor or 1),)
    pads = bool(processor.do_pad)
    return Recipe(resize, arithmetic_of(processor), pad_batch=pads, pixel_mask=pads)


def read_vivit(processor: Any) -> Recipe:
    """Of ViViT."""
    # It rescales to [-1, 1] before it normalises.
    rescale = (operation("multiply", processor.rescale_factor), operation("subtract", 1.0))
    normalize = normalized(processor) if processor.do_normalize else ()
    arithmetic = (*(rescale if processor.do_rescale else ()), *normalize)
    return replace(read_unpadded(processor), arithmetic=arithmetic)


def read_siglip2(processor: Any) -> Recipe:
    """Of SigLIP 2 with pictures in their own proportions."""
    mode = resize_to(processor, "shortest", 1).mode
    patches = Patches(int(processor.patch_size), int(processor.max_num_patches), mode, bool(processor.do_resize))
    return Recipe((), arithmetic_of(processor), patches=patches)
