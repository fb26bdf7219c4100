"""Pixels of the recipes of models of depth against Transformers' own processors, run in the same test."""

from __future__ import annotations

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.processors.image import ImageProcessor
from sensorium.processors.recipe import Recipe
from tests.processors.test_image_parity import IMAGES, assert_same_pixels, make_image

KEPT = {"size": {"height": 56, "width": 70}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}
ZOE = {"size": {"height": 48, "width": 64}, "ensure_multiple_of": 16}
CASES = [
    ("DPTImageProcessor", KEPT),
    ("DPTImageProcessor", {**KEPT, "ensure_multiple_of": 1, "resample": 2}),
    ("DPTImageProcessor", {"size": {"height": 518, "width": 518}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}),
    ("PromptDepthAnythingImageProcessor", KEPT),
    ("PromptDepthAnythingImageProcessor", {"size": {"height": 30, "width": 44}}),
    ("PromptDepthAnythingImageProcessor", {**KEPT, "do_normalize": False}),
    ("GLPNImageProcessor", {}),
    ("GLPNImageProcessor", {"size_divisor": 8}),
    ("GLPNImageProcessor", {"do_resize": False}),
    ("GLPNImageProcessor", {"do_rescale": False}),
    ("DepthProImageProcessor", {"size": {"height": 96, "width": 128}}),
    ("DepthProImageProcessor", {"size": {"height": 96, "width": 128}, "resample": 3}),
    ("DepthProImageProcessor", {"size": {"height": 96, "width": 128}, "do_normalize": False}),
    ("DepthProImageProcessor", {"size": {"height": 30, "width": 44}, "do_rescale": False, "do_normalize": False}),
    ("DepthProImageProcessor", {"do_resize": False}),
    ("ZoeDepthImageProcessor", ZOE),
    ("ZoeDepthImageProcessor", {**ZOE, "keep_aspect_ratio": False}),
    ("ZoeDepthImageProcessor", {**ZOE, "do_pad": False, "resample": 3}),
    ("ZoeDepthImageProcessor", {**ZOE, "do_normalize": False}),
    ("ZoeDepthImageProcessor", {"do_resize": False}),
    ("Tipsv2DptImageProcessor", {"size": {"height": 56, "width": 56}}),
]


def both(name, given):
    reference = getattr(transformers, name)(**given)
    ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is not None, "delegated"
    return reference, ours


@pytest.mark.parametrize(("name", "given"), CASES, ids=str)
def test_pixels_equal_transformers(name, given):
    reference, ours = both(name, given)
    for width, height in [*IMAGES, (40, 90), (5, 5), (4, 70)]:
        assert_same_pixels(reference, ours, make_image(width, height))


SIDES = st.one_of(st.integers(1, 12), st.integers(1, 300))
ANY = [both(*case) for case in CASES if case[1] in (KEPT, ZOE, {"size_divisor": 8})]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(width=SIDES, height=SIDES)
def test_pixels_equal_transformers_for_any_size(width, height):
    for reference, ours in ANY:
        assert_same_pixels(reference, ours, make_image(width, height))


@pytest.mark.parametrize(("name", "given"), CASES, ids=str)
def test_a_recipe_comes_back_from_json(name, given):
    recipe = both(name, given)[1].recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("ZoeDepthImageProcessor", {}),  # a 32nd is no multiple of pixels
        ("ZoeDepthImageProcessor", {**ZOE, "do_rescale": False}),
        ("PromptDepthAnythingImageProcessor", {"do_pad": True, "size_divisor": 32}),
        ("CHMv2ImageProcessor", {}),
    ],
    ids=str,
)
def test_what_is_not_read(name, given):
    with pytest.warns(UserWarning, match=name):
        assert ImageProcessor.from_transformers(getattr(transformers, name)(**given)).recipe is None
