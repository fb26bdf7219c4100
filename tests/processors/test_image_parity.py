"""Pixels of our recipes against Transformers' processors and timm's transforms, run in the same test."""

import functools
import warnings

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from timm.models import get_pretrained_cfg
from transformers import ChameleonImageProcessor
from transformers.models.auto.image_processing_auto import (
    IMAGE_PROCESSOR_MAPPING_NAMES,
    get_image_processor_class_from_name,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_BACKBONE_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
)

from sensorium.errors import CheckpointError, InputError
from sensorium.processors.image import ImageProcessor
from sensorium.processors.image_resampling import torch_resamples

# Float32 rounding of values up to 3; most are equal to the bit, DINOv3's resize and rescale are in the other order.
TOLERANCE = {"rtol": 0, "atol": 1e-5}

# Not read: they quantise colours, align documents, or cut crops of their own.
DELEGATED = {"DonutImageProcessor", "Gemma3ImageProcessor", "ImageGPTImageProcessor"}

# Before Transformers 5.21 this one made transparent pictures RGB in a way of its own, and is not read there.
if "convert_to_rgb" in vars(ChameleonImageProcessor):
    DELEGATED.add("ChameleonImageProcessor")

EXTRA = {"BlipImageProcessor", "ChameleonImageProcessor", "ChineseCLIPImageProcessor"}

# Before torchvision 0.27 Transformers resamples in another way instead, and is left to do so.
UNREAD = set() if torch_resamples("lanczos") else {Image.Resampling.LANCZOS}


def _reachable() -> set[str]:
    model_types = [*MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, *MODEL_FOR_BACKBONE_MAPPING_NAMES]
    found = [IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type) or {} for model_type in model_types]
    return {names["torchvision"] for names in found if names.get("torchvision")}


REACHABLE = _reachable()
CLAIMED = sorted((REACHABLE | EXTRA) - DELEGATED)

IMAGES = [(500, 375), (331, 517), (64, 64), (37, 300), (1, 9)]  # (width, height)

SIZES = {
    "exact": {"size": {"height": 30, "width": 44}},
    "shortest": {"size": {"shortest_edge": 40}},
    "capped": {"size": {"shortest_edge": 40, "longest_edge": 57}},
    "within": {"size": {"max_height": 50, "max_width": 41}},
}
VARIANTS = {
    "default": {},
    **SIZES,
    **{f"{name}-crop": {**size, "do_center_crop": True, "crop_size": {"height": 37, "width": 48}}
       for name, size in SIZES.items()},
    "crop-only": {"do_resize": False, "do_center_crop": True, "crop_size": {"height": 65, "width": 33}},
    **{f"resample-{number}": {**SIZES["exact"], "resample": number} for number in range(6)},
    **{f"resample-{number}-shortest": {**SIZES["shortest"], "resample": number} for number in (0, 2, 3)},
    "raw": {"do_rescale": False, "do_normalize": False},
    "rescale-only": {"do_normalize": False, "rescale_factor": 1 / 127.5},
    "normalize-only": {"do_rescale": False, "do_normalize": True},
    "grey-mean": {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "do_normalize": True},
    "padded": {**SIZES["within"], "do_pad": True, "pad_size": {"height": 60, "width": 52}},
}  # fmt: skip
OWN_VARIANTS = {
    "ConvNextImageProcessor": [
        {"size": {"shortest_edge": 384}},
        {"size": {"shortest_edge": 224}, "crop_pct": 0.95},
        {"size": {"shortest_edge": 224}, "resample": 2},
    ],
    "EfficientNetImageProcessor": [
        {"rescale_offset": True, "rescale_factor": 1 / 127.5},
        {"rescale_offset": True, "include_top": False},
        {"include_top": False, "do_center_crop": True},
        {"do_normalize": False},
    ],
    "LevitImageProcessor": [{"size": {"height": 40, "width": 50}}],
    "MobileViTImageProcessor": [{"do_flip_channel_order": False}],
    "PPLCNetImageProcessor": [{"size_divisor": 32}, {"resize_short": 60, "crop_size": 50}],
    "PerceiverImageProcessor": [{"size": {"height": 50, "width": 90}}, {"do_center_crop": False}],
    "PoolFormerImageProcessor": [
        {"size": {"height": 60, "width": 60}},
        {"size": {"height": 60, "width": 80}, "crop_pct": 0.8},
    ],
    "Sapiens2ImageProcessor": [{"size": {"height": 60, "width": 90}, "do_pad": True}],
    "Siglip2ImageProcessor": [
        {"patch_size": 8, "max_num_patches": 40, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"patch_size": 16, "max_num_patches": 1},
    ],
    "TextNetImageProcessor": [{"size": {"shortest_edge": 40}, "size_divisor": 16}],
}


@functools.lru_cache(maxsize=64)
def make_image(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """Noise with smooth ramps under it: every grey level, and no two neighbours alike."""
    rng = np.random.default_rng((seed, width, height))
    ramp = np.linspace(0, 255, width)[None, :, None] * np.linspace(0, 1, height)[:, None, None]
    return Image.fromarray(((ramp + rng.integers(0, 256, (height, width, 3))) / 2).astype(np.uint8))


def assert_same_pixels(reference, ours: ImageProcessor | None, image: Image.Image) -> None:
    try:
        expected = reference(images=image, return_tensors="pt")["pixel_values"]
    except (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError):
        if ours is not None:
            with pytest.raises(InputError):
                ours(image)
        return
    assert ours is not None
    assert (ours.recipe is None) == (getattr(reference, "resample", None) in UNREAD)
    actual = ours(image)["pixel_values"]
    assert actual.dtype == torch.float32
    assert_same(actual, expected.to(torch.float32))


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """To `TOLERANCE`; what is equal to the bit, which most is, needs no differences."""
    if actual.dtype != expected.dtype or not torch.equal(actual, expected):
        torch.testing.assert_close(actual, expected, **TOLERANCE)


def build(name: str, **settings):
    """A reference processor and ours, read from it; a setting that the class does not allow skips the case.

    Ours is None where it was refused, as it is with settings with which the reference fails on every picture.
    """
    try:
        reference = get_image_processor_class_from_name(name)(**settings)
    except (ValueError, TypeError) as error:
        pytest.skip(f"{name} does not take {settings}: {error}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some settings make a class delegate
        try:
            return reference, ImageProcessor.from_transformers(reference)
        except CheckpointError:
            return reference, None


def test_the_classes_reachable_from_classification_and_backbones_are_known():
    assert len(REACHABLE) > 20
    assert DELEGATED <= REACHABLE | EXTRA
    for name in CLAIMED:
        assert ImageProcessor.from_transformers(get_image_processor_class_from_name(name)()).recipe is not None, name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", CLAIMED)
def test_pixels_equal_transformers(name, variant):
    reference, ours = build(name, **VARIANTS[variant])
    for width, height in IMAGES:
        assert_same_pixels(reference, ours, make_image(width, height))


@pytest.mark.parametrize(
    ("name", "settings"), [(name, one) for name, listed in OWN_VARIANTS.items() for one in listed], ids=str
)
def test_pixels_equal_transformers_in_settings_of_one_class(name, settings):
    reference, ours = build(name, **settings)
    assert ours.recipe is not None
    for width, height in IMAGES:
        assert_same_pixels(reference, ours, make_image(width, height))


_SIDES = st.one_of(st.integers(1, 12), st.integers(1, 300))
_HYPOTHESIS_CASES = {
    name: build(name, **settings)
    for name, settings in {
        "CLIPImageProcessor": {"size": {"shortest_edge": 33}, "crop_size": {"height": 28, "width": 31}},
        "ConvNextImageProcessor": {"size": {"shortest_edge": 30}},
        "LevitImageProcessor": {"size": {"shortest_edge": 30}, "crop_size": {"height": 30, "width": 30}},
        "DINOv3ViTImageProcessor": {"size": {"height": 30, "width": 41}, "resample": 3},
        "PPLCNetImageProcessor": {"resize_short": 31, "crop_size": 28},
        "PerceiverImageProcessor": {"size": {"height": 28, "width": 28}, "crop_size": {"height": 32, "width": 32}},
        "BitImageProcessor": {"size": {"shortest_edge": 20, "longest_edge": 40}, "do_center_crop": False},
        "ViTImageProcessor": {"size": {"max_height": 25, "max_width": 60}},
        "TextNetImageProcessor": {"size": {"shortest_edge": 20}, "size_divisor": 16},
    }.items()
}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(width=_SIDES, height=_SIDES, seed=st.integers(0, 3))
def test_pixels_equal_transformers_for_any_size(width, height, seed):
    image = make_image(width, height, seed=seed)
    for reference, ours in _HYPOTHESIS_CASES.values():
        assert_same_pixels(reference, ours, image)


@pytest.mark.parametrize("name", ["ViTImageProcessor", "CLIPImageProcessor", "DINOv3ViTImageProcessor"])
def test_float_pictures_are_not_rounded(name):
    reference, ours = build(name)
    image = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0)) * 255
    expected = reference(images=image, return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    actual = ours.finish({"pixel_values": ours.fit(image)["pixel_values"][None]})["pixel_values"]
    torch.testing.assert_close(actual, expected, **TOLERANCE)


@pytest.mark.parametrize("name", sorted(DELEGATED - {"ImageGPTImageProcessor"}))
def test_delegated_classes_give_their_own_results(name):
    reference = get_image_processor_class_from_name(name)()
    with pytest.warns(UserWarning, match=name):
        ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is None
    image = make_image(300, 200)
    expected, actual = reference(images=image, return_tensors="pt"), ours(image)
    assert set(ours.input_names) <= set(actual)
    for key in ours.input_names:
        assert torch.equal(actual[key], expected[key])


TIMM_NAMES = [
    "vit_base_patch16_224.augreg_in21k_ft_in1k",
    "vit_base_patch16_clip_224.openai",
    "resnet50.a1_in1k",
    "convnext_tiny.in12k_ft_in1k_384",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "mobilenetv3_large_100.ra_in1k",
    "efficientnet_b0.ra_in1k",
    "eva02_tiny_patch14_336.mim_in22k_ft_in1k",
    "inception_v4.tf_in1k",
    "vit_base_patch16_siglip_224.webli",
]
TIMM_VARIANTS = [
    {"crop_mode": "squash", "crop_pct": 0.9},
    {"crop_mode": "squash", "crop_pct": 1.0, "interpolation": "bilinear"},
    {"crop_mode": "border", "crop_pct": 0.95},
    {"crop_mode": "border", "crop_pct": 1.0, "input_size": (3, 96, 160)},
    {"crop_mode": "center", "crop_pct": 0.9, "input_size": (3, 96, 160)},
    {"interpolation": "nearest"},
    {"interpolation": "box"},
    {"interpolation": "hamming"},
    {"interpolation": "lanczos"},
    {"interpolation": "bilinear", "input_size": (3, 97, 97), "crop_pct": 0.8},
]
TIMM_MODES = ["squash", "border", "center"]


def assert_same_as_timm(pretrained_cfg: dict, images) -> None:
    data_config = resolve_model_data_config(None, pretrained_cfg=pretrained_cfg)
    reference, ours = create_transform(**data_config), ImageProcessor.from_timm(pretrained_cfg)
    for width, height in images:
        image = make_image(width, height)
        assert_same(ours(image)["pixel_values"][0], reference(image))


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_pixels_equal_timm(name):
    assert_same_as_timm(get_pretrained_cfg(name).to_dict(), [(500, 375), (331, 517), (64, 64), (1, 9)])


@pytest.mark.parametrize("variant", TIMM_VARIANTS, ids=str)
def test_every_crop_mode_and_interpolation_of_timm(variant):
    assert_same_as_timm({"input_size": (3, 128, 128), **variant}, [*IMAGES, (130, 129), (300, 37)])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(width=_SIDES, height=_SIDES, mode=st.sampled_from(TIMM_MODES), side=st.integers(20, 40))
@example(width=1, height=44, mode="border", side=20)
@example(width=299, height=1, mode="border", side=20)
def test_timm_for_any_size(width, height, mode, side):
    cfg = {"input_size": (3, side, 33), "crop_mode": mode, "crop_pct": 0.9, "interpolation": "bicubic"}
    try:
        create_transform(**resolve_model_data_config(None, pretrained_cfg=cfg))(make_image(width, height))
    except ValueError:  # timm's border mode rounds a side to 0
        with pytest.raises(InputError, match="would become"):
            ImageProcessor.from_timm(cfg)(make_image(width, height))
    else:
        assert_same_as_timm(cfg, [(width, height)])


def test_all_of_timms_pretrained_configs_are_read():
    for name in timm.list_pretrained():
        cfg = get_pretrained_cfg(name).to_dict()
        if cfg["input_size"][0] == 3:
            recipe = ImageProcessor.from_timm(cfg).recipe
            assert recipe is not None
            assert recipe.size == tuple(cfg["input_size"][1:]), name
