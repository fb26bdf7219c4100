"""Pictures as rows of patches, against Transformers' processor of SigLIP 2."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Siglip2ImageProcessor
from transformers.models.siglip2.image_processing_siglip2 import get_image_size_for_max_num_patches

from sensorium.errors import CheckpointError, InputError
from sensorium.processors.image import ImageProcessor
from sensorium.processors.patches import Patches
from sensorium.processors.recipe import Recipe
from tests.media import make_image

SETTINGS = {"patch_size": 8, "max_num_patches": 30, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}


def test_a_batch_of_all_proportions_equals_transformers():
    reference = Siglip2ImageProcessor(**SETTINGS)
    ours = ImageProcessor.from_transformers(reference)
    images = [make_image(64, 48), make_image(30, 200), make_image(1, 9), make_image(20_000, 2)]
    expected, actual = reference(images=images, return_tensors="pt"), ours(images)
    assert tuple(actual) == ours.input_names == ("pixel_values", "pixel_attention_mask", "spatial_shapes")
    for name in ("pixel_attention_mask", "spatial_shapes"):
        assert actual[name].dtype == expected[name].dtype
        assert torch.equal(actual[name], expected[name])
    torch.testing.assert_close(actual["pixel_values"], expected["pixel_values"], rtol=0, atol=1e-5)
    assert len({tuple(shape.tolist()) for shape in actual["spatial_shapes"]}) == 4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 8, 14, 16]), st.integers(1, 400))
def test_sizes_equal_transformers(height, width, side, most):
    assert Patches(side, most).size(height, width) == get_image_size_for_max_num_patches(height, width, side, most)


def test_the_recipe_is_kept_through_json():
    recipe = ImageProcessor.from_transformers(Siglip2ImageProcessor(**SETTINGS)).recipe
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert again.patches == Patches(8, 30)
    assert torch.equal(
        ImageProcessor(again)(make_image())["pixel_values"], ImageProcessor(recipe)(make_image())["pixel_values"]
    )


def test_pictures_that_are_not_resized_have_to_be_of_whole_patches():
    ours = ImageProcessor.from_transformers(Siglip2ImageProcessor(**SETTINGS, do_resize=False))
    assert ours(make_image(32, 24))["spatial_shapes"].tolist() == [[3, 4]]
    for image in (make_image(33, 24), make_image(64, 64)):
        with pytest.raises(InputError, match="at most 30 whole patches of 8x8 px") as caught:
            ours(image)
        assert caught.value.code == "bad-shape"


@pytest.mark.parametrize(("side", "most"), [(0, 3), (8, 0), (2**12, 3)])
def test_a_broken_recipe_is_refused(side, most):
    with pytest.raises(CheckpointError, match="patches of at least 1 px"):
        Patches(side, most)
