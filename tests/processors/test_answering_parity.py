"""Recipes of the models that answer questions about pictures, pixel for pixel against Transformers' processors."""

from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError
from sensorium.processors.image import ImageProcessor
from sensorium.processors.image_resampling import resized_size
from tests.media import make_image

TOLERANCE = {"atol": 1e-6, "rtol": 1e-6}  # the last bit of a fused multiplication

VARIANTS = {
    "default": {},
    "small": {"size": {"shortest_edge": 48}, "size_divisor": 16},
    "no multiple": {"size": {"shortest_edge": 48}, "size_divisor": None},
    "no resize": {"do_resize": False},
    "no arithmetic": {"size": {"shortest_edge": 48}, "size_divisor": 16, "do_rescale": False, "do_normalize": False},
    "no padding": {"size": {"shortest_edge": 48}, "size_divisor": 16, "do_pad": False},
}


def both(name, **given):
    reference = getattr(transformers, name)(**given)
    ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is not None, "delegated"
    return reference, ours


@pytest.mark.parametrize("variant", VARIANTS)
def test_vilt(variant):
    reference, ours = both("ViltImageProcessor", **VARIANTS[variant])
    for width, height in [(64, 48), (48, 64), (40, 40), (97, 33), (31, 64)]:
        image = make_image(width, height)
        expected = {
            k: v.float() if k == "pixel_values" else v for k, v in reference(images=image, return_tensors="pt").items()
        }
        actual = ours(image)
        torch.testing.assert_close(actual["pixel_values"], expected["pixel_values"], **TOLERANCE)
        assert set(actual) == set(expected)
        if "pixel_mask" in expected:
            assert torch.equal(actual["pixel_mask"], expected["pixel_mask"])


def test_a_batch_of_several_sizes_is_padded_and_masked_as_transformers_does():
    reference, ours = both("ViltImageProcessor", size={"shortest_edge": 48}, size_divisor=16)
    images = [make_image(64, 48), make_image(48, 64), make_image(90, 60)]
    expected, actual = reference(images=images, return_tensors="pt"), ours(images)
    torch.testing.assert_close(actual["pixel_values"], expected["pixel_values"], **TOLERANCE)
    assert torch.equal(actual["pixel_mask"], expected["pixel_mask"])


@pytest.mark.parametrize("size", [(1, 300), (300, 1)])
def test_a_strip_too_narrow_for_a_patch_is_refused(size):
    with pytest.raises(InputError, match="elongated") as caught:
        both("ViltImageProcessor")[1](make_image(*size))
    assert caught.value.code == "too-narrow"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([(384, 32), (48, 16), (225, 1), (100, None)]))
def test_any_size_becomes_what_transformers_makes_of_it(height, width, setting):
    edge, divisor = setting
    reference, ours = both("ViltImageProcessor", size={"shortest_edge": edge}, size_divisor=divisor)
    resize = ours.recipe.geometry[0]
    try:
        got = resized_size(height, width, rule=resize.rule, size=resize.size, multiple=resize.multiple)
    except InputError:
        got = None
    asked = []
    super_resize = transformers.image_processing_backends.TorchvisionBackend.resize
    try:
        transformers.image_processing_backends.TorchvisionBackend.resize = lambda _, images, size, **__: asked.append(
            (size.height, size.width)
        )
        reference.resize(torch.zeros(1, 3, height, width), reference.size, reference.resample, reference.size_divisor)
    finally:
        transformers.image_processing_backends.TorchvisionBackend.resize = super_resize
    assert got == (asked[0] if min(asked[0]) > 0 else None)


@pytest.mark.parametrize("name", ["BlipImageProcessor", "CLIPImageProcessor"])
def test_blip_and_clip_are_read(name):
    reference, ours = both(name)
    image = make_image(64, 48)
    expected = reference(images=image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours(image)["pixel_values"], expected, **TOLERANCE)
