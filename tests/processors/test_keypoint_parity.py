"""Pixels of the recipes for keypoints against Transformers' processors, run in the same test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    EfficientLoFTRImageProcessor,
    LightGlueImageProcessor,
    SuperGlueImageProcessor,
    SuperPointImageProcessor,
)

from sensorium.processors.image import ImageProcessor
from sensorium.processors.recipe import Recipe

EXACT = {"rtol": 0, "atol": 0}  # the same operations in the same order
SIZES = [(120, 90), (33, 51), (64, 64), (1, 9), (300, 7)]  # (width, height)


def make_image(width, height, *, grey=False):
    values = np.random.default_rng((width, height)).integers(0, 256, (height, width, 3))
    return Image.fromarray((values[..., :1].repeat(3, -1) if grey else values).astype(np.uint8))


def read(reference):
    ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is not None, "it is read, not delegated"
    return ours


SUPERPOINT = [
    {},
    {"do_grayscale": True},
    {"do_grayscale": True, "size": {"height": 30, "width": 44}, "resample": 3},
    {"do_resize": False, "do_grayscale": True},
    {"do_rescale": False, "size": {"height": 30, "width": 44}},
    {"size": {"shortest_edge": 24}, "do_grayscale": True, "rescale_factor": 1 / 127.5},
    {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},  # which SuperPoint never does
]


@pytest.mark.parametrize("settings", SUPERPOINT, ids=str)
@pytest.mark.parametrize("grey", [False, True])
def test_superpoint(settings, grey):
    reference = SuperPointImageProcessor(**settings)
    ours = read(reference)
    for width, height in SIZES:
        image = make_image(width, height, grey=grey)
        expected = reference(image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(ours(image)["pixel_values"], expected.float(), **EXACT)


PAIRS = [
    {},
    {"do_grayscale": False},
    {"size": {"height": 30, "width": 44}, "resample": 3},
    {"do_rescale": False, "do_grayscale": False},
]


@pytest.mark.parametrize(
    "reference_class", [SuperGlueImageProcessor, LightGlueImageProcessor, EfficientLoFTRImageProcessor]
)
@pytest.mark.parametrize("settings", PAIRS, ids=str)
@pytest.mark.parametrize("greys", [(False, False), (True, True), (True, False)])
def test_pairs(reference_class, settings, greys):
    reference = reference_class(**settings)
    ours = read(reference)
    for a, b in itertools.pairwise(SIZES):
        pair = [make_image(*size, grey=grey) for size, grey in zip((a, b), greys, strict=True)]
        expected = reference(pair, return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(ours(pair)["pixel_values"], expected.float(), **EXACT)


def test_grey_recipes_survive_json_and_compiling():
    recipe = read(SuperGlueImageProcessor()).recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    first = read(SuperPointImageProcessor(do_grayscale=True)).recipe
    assert Recipe.from_dict(first.to_dict()) == first
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(
        torch.compile(recipe.finish, backend="eager", fullgraph=True)(pixels), recipe.finish(pixels)
    )


def test_a_setting_that_is_not_read_exactly_is_delegated():
    with pytest.warns(UserWarning, match="grayscale without rescale"):
        assert ImageProcessor.from_transformers(SuperGlueImageProcessor(do_rescale=False)).recipe is None
