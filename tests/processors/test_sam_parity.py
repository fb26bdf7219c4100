"""Pixels of the recipes of SAM, SAM 2 and SAM 3 against Transformers' processors, run in the same test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Sam2ImageProcessor, Sam3ImageProcessor, SamImageProcessor

from sensorium.errors import InputError
from sensorium.processors.image import ImageProcessor

TOLERANCE = {"rtol": 0, "atol": 1e-6}  # most are equal to the bit


def image(width, height):
    values = np.random.default_rng((width, height)).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def assert_same(reference, image):
    ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is not None, "it is read, not delegated"
    expected = reference(image, return_tensors="pt")
    fitted = ours.fit(torch.from_numpy(np.array(image)).permute(2, 0, 1))["pixel_values"]
    if "reshaped_input_sizes" in expected:  # what is to be cut off again, of the masks
        assert expected["reshaped_input_sizes"][0].tolist() == list(fitted.shape[1:])
    torch.testing.assert_close(ours(image)["pixel_values"], expected["pixel_values"].float(), **TOLERANCE)


SAM = [
    {},
    {"size": {"longest_edge": 96}, "pad_size": {"height": 96, "width": 96}},
    {"size": {"longest_edge": 64}, "pad_size": {"height": 80, "width": 72}, "resample": 3},
    {"size": {"longest_edge": 64}, "do_normalize": False},
    {"size": {"longest_edge": 64}, "do_normalize": False, "do_rescale": False},
    {"size": {"longest_edge": 64}, "do_pad": False},
    {"do_resize": False},
]


@pytest.mark.parametrize("options", SAM, ids=str)
def test_sam(options):
    reference = SamImageProcessor(**options)
    for width, height in [(300, 200), (97, 131), (64, 64), (9, 3)]:
        assert_same(reference, image(width, height))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 400), st.integers(1, 400))
def test_sam_rounds_as_the_reference_does(width, height):
    if min(width, height) * 96 / max(width, height) < 0.5:
        return
    reference = SamImageProcessor(size={"longest_edge": 96}, pad_size={"height": 96, "width": 96})
    assert_same(reference, image(width, height))


@pytest.mark.parametrize(
    "options",
    [{}, {"size": {"height": 96, "width": 80}}, {"size": {"height": 64, "width": 64}, "do_normalize": False}],
    ids=str,
)
def test_sam_2(options):
    reference = Sam2ImageProcessor(**options)
    for width, height in [(300, 200), (97, 131), (1, 200)]:
        assert_same(reference, image(width, height))


@pytest.mark.parametrize("options", [{}, {"size": {"height": 96, "width": 96}}], ids=str)
def test_sam_3(options):
    for width, height in [(300, 200), (97, 131), (1, 200)]:
        assert_same(Sam3ImageProcessor(**options), image(width, height))


def test_a_thread_of_a_picture_is_told_apart_from_a_failure():
    ours = ImageProcessor.from_transformers(SamImageProcessor())
    with pytest.raises(InputError, match="would become 1024x0 px") as caught:
        ours.fit(torch.zeros(3, 1, 20_000, dtype=torch.uint8))
    assert caught.value.code == "too-narrow"
