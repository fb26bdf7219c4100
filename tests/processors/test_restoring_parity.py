"""Pixels of the recipes of models that give a picture back against Transformers' own processors, in the same test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import CheckpointError
from sensorium.processors.borders import PadSymmetric
from sensorium.processors.image import ImageProcessor
from sensorium.processors.recipe import Recipe
from tests.processors.test_image_parity import assert_same_pixels, make_image

CASES = [{}, {"size_divisor": 16}, {"pad_size": 4}, {"do_pad": False}, {"do_rescale": False}, {"rescale_factor": 0.5}]


def both(given):
    reference = transformers.Swin2SRImageProcessor(**given)
    ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is not None, "delegated"
    return reference, ours


@pytest.mark.parametrize("given", CASES, ids=str)
def test_pixels_equal_transformers(given):
    reference, ours = both(given)
    for width, height in [(64, 48), (33, 97), (17, 40), (16, 23)]:
        assert_same_pixels(reference, ours, make_image(width, height))


@pytest.mark.parametrize("given", CASES, ids=str)
def test_a_recipe_comes_back_from_json(given):
    recipe = both(given)[1].recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), multiple=st.sampled_from([1, 7, 8, 64]), always=st.booleans()
)
def test_any_size_is_padded_as_numpy_does(height, width, multiple, always):
    """Transformers' processor fails for a side that is shorter than its border, where NumPy mirrors it again."""
    image = torch.arange(3 * height * width, dtype=torch.float32).reshape(3, height, width)
    padded = PadSymmetric(multiple, always)(image)
    down, across = ((side // multiple + 1) * multiple - side for side in (height, width))
    if not always:
        down, across = down % multiple, across % multiple
    expected = np.pad(image.numpy(), ((0, 0), (0, down), (0, across)), mode="symmetric")
    assert np.array_equal(padded.numpy(), expected)


@pytest.mark.parametrize("multiple", [0, -8, 2**20, 1.5])
def test_a_multiple_that_is_none_is_refused(multiple):
    with pytest.raises(CheckpointError, match="to pad to"):
        PadSymmetric(multiple)
