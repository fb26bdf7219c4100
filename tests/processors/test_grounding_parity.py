"""Pixels of the recipes of models that find what texts name, against Transformers' own processors."""

from __future__ import annotations

import pytest
import transformers

from sensorium.errors import InputError
from sensorium.processors.image import ImageProcessor
from sensorium.processors.recipe import Recipe
from tests.processors.test_image_parity import IMAGES, assert_same_pixels, make_image

SMALL = {"size": {"height": 32, "width": 32}}
CASES = [
    ("OwlViTImageProcessor", SMALL),
    ("GroundingDinoImageProcessor", {"size": {"height": 48, "width": 64}}),
    ("Owlv2ImageProcessor", SMALL),
    ("Owlv2ImageProcessor", {"size": {"height": 30, "width": 44}, "resample": 3}),
    ("Owlv2ImageProcessor", {**SMALL, "do_pad": False}),
    ("Owlv2ImageProcessor", {**SMALL, "do_normalize": False}),
    ("Owlv2ImageProcessor", {"size": {"height": 960, "width": 960}}),
]


def both(name, given):
    reference = getattr(transformers, name)(**given)
    ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is not None, "delegated"
    return reference, ours


@pytest.mark.parametrize(("name", "given"), CASES, ids=str)
def test_pixels_equal_transformers(name, given):
    reference, ours = both(name, given)
    for width, height in [*IMAGES, (40, 90), (5, 5), (33, 31)]:
        assert_same_pixels(reference, ours, make_image(width, height))


@pytest.mark.parametrize(("name", "given"), CASES, ids=str)
def test_a_recipe_comes_back_from_json(name, given):
    recipe = both(name, given)[1].recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_what_is_not_read():
    with pytest.warns(UserWarning, match="Owlv2ImageProcessor"):
        assert ImageProcessor.from_transformers(transformers.Owlv2ImageProcessor(do_rescale=False)).recipe is None


def test_a_square_that_would_be_enormous_is_refused():
    import torch

    with pytest.raises(InputError) as caught:
        both("Owlv2ImageProcessor", SMALL)[1].fit(torch.zeros((3, 1, 20_000), dtype=torch.uint8))
    assert caught.value.code == "too-elongated"
