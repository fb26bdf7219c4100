"""Pixels of ViTMatte's recipe against Transformers' own processor, whose fourth channel is the trimap."""

from __future__ import annotations

import pytest
import torch
from transformers import VitMatteImageProcessor

from sensorium.errors import CheckpointError
from sensorium.processors.image import ImageProcessor
from sensorium.processors.media import load_image
from sensorium.processors.recipe import Recipe
from tests.media import make_image
from tests.tiny_matting import make_trimap

CASES = [{}, {"size_divisibility": 7}, {"do_pad": False}, {"do_normalize": False}, {"image_std": [0.1, 0.2, 0.3]}]


@pytest.mark.parametrize("given", CASES, ids=str)
def test_pixels_equal_transformers(given):
    reference = VitMatteImageProcessor(**given)
    ours = ImageProcessor.from_transformers(reference)
    for size in [(64, 48), (33, 97), (1, 9), (7, 32)]:
        image = make_image(*size)
        expected = reference(images=image, trimaps=make_trimap(*size), return_tensors="pt")["pixel_values"]
        pixels = ours(image)["pixel_values"]
        torch.testing.assert_close(pixels, expected[:, :3], rtol=0, atol=1e-6)
        assert ours.recipe.mask(ours.fit(load_image(image))["pixel_values"][None]).shape == pixels[:, 0].shape
    assert Recipe.from_dict(ours.recipe.to_dict()) == ours.recipe


@pytest.mark.parametrize("multiple", [0, -1, 2**20, 1.5, "32"])
def test_a_multiple_that_is_none_is_refused(multiple):
    with pytest.raises(CheckpointError, match="multiple of 1 to"):
        Recipe(pad_multiple=multiple)


def test_a_recipe_from_before_pads_to_nothing():
    older = {name: value for name, value in Recipe().to_dict().items() if name != "pad_multiple"}
    assert Recipe.from_dict(older).pad_multiple == 1
