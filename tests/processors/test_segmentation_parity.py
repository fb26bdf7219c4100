"""Pixels and masks of the recipes of MaskFormer, Mask2Former, EoMT and DPT against Transformers' own processors."""

from __future__ import annotations

import itertools

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError, LimitError
from sensorium.processors.image import ImageProcessor
from sensorium.processors.squares import square_starts
from tests.processors.test_image_parity import IMAGES, TOLERANCE, assert_same_pixels, make_image

CAPPED = {"size": {"shortest_edge": 48, "longest_edge": 90}}
MASKED = ["MaskFormerImageProcessor", "Mask2FormerImageProcessor"]
VARIANTS = {
    "default": {},
    "capped": CAPPED,
    "divisor-16": {**CAPPED, "size_divisor": 16},
    "no-divisor": {**CAPPED, "size_divisor": 0},
    "exact": {"size": {"height": 30, "width": 44}},
    "within": {"size": {"max_height": 50, "max_width": 41}},
    "bicubic": {**CAPPED, "resample": 3},
    "padded": {**CAPPED, "pad_size": {"height": 96, "width": 128}},
    "as-it-is": {"do_resize": False},
    "raw": {**CAPPED, "do_rescale": False, "do_normalize": False},
    "rescale-only": {**CAPPED, "do_normalize": False},
    "normalised": {**CAPPED, "do_normalize": True, "do_reduce_labels": True, "ignore_index": 255},
}


def both(name, **given):
    reference = getattr(transformers, name)(**given)
    ours = ImageProcessor.from_transformers(reference)
    assert ours.recipe is not None, "delegated"
    return reference, ours


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", MASKED)
def test_pixels_and_mask_equal_transformers(name, variant):
    reference, ours = both(name, **VARIANTS[variant])
    for width, height in IMAGES[:1] if variant == "default" else [*IMAGES, (40, 90), (48, 64)]:
        image = make_image(width, height)
        assert_same_pixels(reference, ours, image)
        try:
            mask = ours(image)["pixel_mask"]
        except InputError:
            continue  # the reference failed, too
        expected = reference(images=image, return_tensors="pt")["pixel_mask"]
        assert torch.equal(mask, expected)
        assert mask.dtype == expected.dtype


@pytest.mark.parametrize("name", MASKED)
def test_a_batch_of_several_sizes_is_padded_and_masked_as_transformers_does(name):
    reference, ours = both(name, **CAPPED, size_divisor=8)
    images = [make_image(64, 48), make_image(48, 64), make_image(170, 71)]
    expected, actual = reference(images=images, return_tensors="pt"), ours(images)
    torch.testing.assert_close(actual["pixel_values"], expected["pixel_values"], **TOLERANCE)
    assert torch.equal(actual["pixel_mask"], expected["pixel_mask"])
    assert 0 < actual["pixel_mask"].float().mean() < 1


_SIDES = st.one_of(st.integers(1, 12), st.integers(1, 300))
_CASES = [both(name, **CAPPED, size_divisor=8) for name in MASKED]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(width=_SIDES, height=_SIDES)
def test_pixels_equal_transformers_for_any_size(width, height):
    for reference, ours in _CASES:
        assert_same_pixels(reference, ours, make_image(width, height))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"size": {"height": 64, "width": 96}, "ensure_multiple_of": 32},
        {"size": {"height": 30, "width": 44}, "resample": 2},
        {"do_resize": False, "keep_aspect_ratio": True},
        {"size": {"height": 30, "width": 44}, "do_rescale": False},
    ],
)
def test_pixels_of_dpt_equal_transformers(given):
    reference, ours = both("DPTImageProcessor", **given)
    for width, height in IMAGES:
        assert_same_pixels(reference, ours, make_image(width, height))


@pytest.mark.parametrize(
    "given",
    [
        {"size": {"height": 60, "width": 64}, "ensure_multiple_of": 32},
        {"do_pad": True, "size_divisor": 32},
    ],
)
def test_what_dpt_does_to_sizes_of_its_own_is_not_read(given):
    with pytest.warns(UserWarning, match="DPTImageProcessor"):
        assert ImageProcessor.from_transformers(transformers.DPTImageProcessor(**given)).recipe is None


@pytest.mark.parametrize(
    "given",
    [
        {"do_pad": True},
        {"size": {"shortest_edge": 48, "longest_edge": 64}, "do_pad": True, "resample": 3},
        {"size": {"shortest_edge": 48, "longest_edge": 64}},
        {"size": {"shortest_edge": 40}, "do_split_image": True},
        {"size": {"shortest_edge": 40}, "do_split_image": True, "do_rescale": False, "do_normalize": False},
    ],
)
def test_pixels_of_eomt_equal_transformers(given):
    reference, ours = both("EomtImageProcessor", **given)
    for width, height in [(500, 375), (331, 517), (64, 64), (64, 90), (290, 37), (37, 260)]:
        image = make_image(width, height)
        expected = reference(images=image, return_tensors="pt")["pixel_values"].float()
        torch.testing.assert_close(ours(image)["pixel_values"], expected, **TOLERANCE)


def test_the_squares_of_a_picture_cover_it_to_the_last_px():
    """In the reference the last of eight of 640 px begins a px too early at times, by rounding."""
    for length in range(640, 8 * 640 + 1):
        starts = square_starts(640, length)
        assert starts[-1] + 640 == length
        assert all(0 <= after - before <= 640 for before, after in itertools.pairwise(starts))
    with pytest.raises(LimitError, match="9 squares"):
        square_starts(640, 8 * 640 + 1)


def test_squares_of_a_size_that_is_not_fixed_are_not_read():
    with pytest.warns(UserWarning, match="EomtImageProcessor"):
        assert ImageProcessor.from_transformers(transformers.EomtImageProcessor(do_split_image=True)).recipe is None
