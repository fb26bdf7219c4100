"""Pixels and masks of DETR's and similar recipes against Transformers' own processors, run in the same test."""

from __future__ import annotations

import inspect

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.errors import CheckpointError, InputError
from sensorium.processors.image import ImageProcessor
from sensorium.processors.recipe import Recipe
from tests.processors.test_image_parity import IMAGES, TOLERANCE, assert_same_pixels, make_image

NAMES = [
    "DetrImageProcessor",
    "ConditionalDetrImageProcessor",
    "DeformableDetrImageProcessor",
    "YolosImageProcessor",
    "RTDetrImageProcessor",
]
UNMASKED = ["PPDocLayoutV2ImageProcessor", "PPDocLayoutV3ImageProcessor"]
# Before Transformers 5.18 this one resized with antialiasing, unlike RF-DETR itself, and is not read there.
if "disable_grouping" in inspect.signature(transformers.RfDetrImageProcessor._preprocess).parameters:
    NAMES.append("RfDetrImageProcessor")
CAPPED = {"size": {"shortest_edge": 48, "longest_edge": 90}}
VARIANTS = {
    "default": {},
    "capped": CAPPED,
    "exact": {"size": {"height": 30, "width": 44}},
    "within": {"size": {"max_height": 50, "max_width": 41}},
    "bicubic": {**CAPPED, "resample": 3},
    "padded": {**CAPPED, "do_pad": True, "pad_size": {"height": 96, "width": 100}},
    "unpadded": {**CAPPED, "do_pad": False},
    "as-it-is": {"do_resize": False},
    "raw": {**CAPPED, "do_rescale": False, "do_normalize": False},
    "rescale-only": {**CAPPED, "do_normalize": False},
    "normalised": {**CAPPED, "do_normalize": True},
}


def both(name, **given):
    reference = getattr(transformers, name)(**given)
    ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is not None, "delegated"
    return reference, ours


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_pixels_and_mask_equal_transformers(name, variant):
    reference, ours = both(name, **VARIANTS[variant])
    sizes = IMAGES[:2] if variant == "default" else [*IMAGES, (40, 90), (48, 60), (60, 48)]
    for width, height in sizes:
        image = make_image(width, height)
        assert_same_pixels(reference, ours, image)
        try:
            mask = ours(image).get("pixel_mask")
        except InputError:
            continue  # the reference failed, too
        expected = reference(images=image, return_tensors="pt").get("pixel_mask")
        assert (mask is None) == (expected is None)
        assert mask is None or (torch.equal(mask, expected) and mask.dtype == expected.dtype)
        assert ("pixel_mask" in ours.input_names) == (mask is not None)


@pytest.mark.parametrize("variant", ["default", "exact", "padded", "as-it-is", "raw"])
@pytest.mark.parametrize("name", UNMASKED)
def test_pixels_without_a_mask_equal_transformers(name, variant):
    reference, ours = both(name, **VARIANTS[variant])
    for width, height in IMAGES[:2]:
        assert_same_pixels(reference, ours, make_image(width, height))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_several_sizes_is_padded_and_masked_as_transformers_does(name):
    reference, ours = both(name, **CAPPED, do_pad=True)
    images = [make_image(64, 48), make_image(48, 64), make_image(170, 71)]
    expected, actual = reference(images=images, return_tensors="pt"), ours(images)
    assert set(actual) == {"pixel_values", "pixel_mask"}
    torch.testing.assert_close(actual["pixel_values"], expected["pixel_values"], **TOLERANCE)
    assert torch.equal(actual["pixel_mask"], expected["pixel_mask"])
    assert 0 < actual["pixel_mask"].float().mean() < 1


_SIDES = st.one_of(st.integers(1, 12), st.integers(1, 300))
_CASES = [both(name, **CAPPED) for name in ("DetrImageProcessor", "YolosImageProcessor", *NAMES[5:])]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(width=_SIDES, height=_SIDES)
def test_pixels_equal_transformers_for_any_size(width, height):
    for reference, ours in _CASES:
        assert_same_pixels(reference, ours, make_image(width, height))


def test_a_size_of_one_edge_with_which_the_reference_fails_is_refused():
    reference = transformers.DetrImageProcessor()
    reference.size = type(reference.size)(shortest_edge=40)
    with pytest.raises(CheckpointError, match=r"DetrImageProcessor cannot prepare .* size"):
        ImageProcessor.from_transformers(reference)


def test_the_mask_survives_saving():
    _, ours = both("DetrImageProcessor", **CAPPED)
    again = Recipe.from_dict(ours.recipe.to_dict())
    assert again == ours.recipe
    assert again.pixel_mask
    older = {name: value for name, value in ours.recipe.to_dict().items() if name != "pixel_mask"}
    assert not Recipe.from_dict(older).pixel_mask
