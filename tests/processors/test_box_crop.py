"""Windows around boxes against Transformers' own processors of poses, run in the same test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.errors import CheckpointError, InputError
from sensorium.processors.box_crop import BoxCrop
from sensorium.processors.image import ImageProcessor
from sensorium.processors.media import load_image
from sensorium.processors.recipe import Recipe
from sensorium.processors.region import region
from tests.contract import ignored
from tests.media import make_image

SIZE = {"height": 40, "width": 30}
RAW = {"return_tensors": "pt", "do_rescale": False, "do_normalize": False}
VITPOSE, SAPIENS = transformers.VitPoseImageProcessor(size=SIZE), transformers.Sapiens2ImageProcessor(size=SIZE)
AT = st.one_of(st.integers(-20, 60).map(float), st.floats(-20, 60, width=32))
LONG = st.one_of(st.integers(1, 90).map(float), st.floats(0.5, 90, width=32))


def cut(crop, image, boxes):
    return torch.stack(list(crop.cut(load_image(image), crop.windows(np.array(boxes, dtype=float)))))


def reference(processor, image, boxes, **options):
    rows = np.array(boxes, dtype=float)
    rows[:, 2:] -= rows[:, :2]
    return processor(image, boxes=[rows.tolist()], **options)["pixel_values"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(x=AT, y=AT, wide=LONG, high=LONG, width=st.integers(2, 60), height=st.integers(2, 60))
def test_pixels_equal_transformers(x, y, wide, high, width, height):
    image, boxes = make_image(width, height), [[x, y, x + wide, y + high]]
    theirs = reference(VITPOSE, image, boxes, **RAW).int()
    mine = cut(BoxCrop((40, 30)), image, boxes).int()
    # SciPy's libraries may turn the matrix round by another last bit, which shows where a px lies half way
    assert (theirs - mine).abs().max() <= 1
    assert (theirs != mine).float().mean() < 0.01
    sampled = cut(BoxCrop((40, 30), sampled=True), image, boxes)
    torch.testing.assert_close(sampled, reference(SAPIENS, image, boxes, **RAW), rtol=0, atol=2e-2)


def test_the_recipe_is_read():
    processor, boxes = ImageProcessor.from_transformers(VITPOSE), [[3, 4, 40, 44], [-9, 0, 20, 30]]
    assert processor.recipe.geometry == (BoxCrop((40, 30)),)
    assert processor.size == (40, 30)
    assert Recipe.from_dict(processor.recipe.to_dict()) == processor.recipe
    image = make_image(64, 48)
    pixels = processor.finish({"pixel_values": cut(processor.recipe.geometry[0], image, boxes)})["pixel_values"]
    torch.testing.assert_close(pixels, reference(VITPOSE, image, boxes, return_tensors="pt"), rtol=0, atol=2e-2)


def test_a_picture_by_itself_is_one_box():
    image = make_image(64, 48)
    alone = ImageProcessor.from_transformers(VITPOSE)(image)["pixel_values"]
    torch.testing.assert_close(
        alone, reference(VITPOSE, image, [[0, 0, 64, 48]], return_tensors="pt"), rtol=0, atol=2e-2
    )


def test_the_way_back_from_a_window():
    """What shines is found again where it is."""
    y, x = np.mgrid[:80, :60]
    image = np.uint8(255 * np.exp(-((x - 20) ** 2 + (y - 40) ** 2) / 50))[None].repeat(3, 0)
    recipe = ImageProcessor.from_transformers(VITPOSE).recipe
    left, top, right, bottom = region(recipe, 80, 60)
    seen = recipe.fit(torch.from_numpy(image))[0].float()
    row, column = ((seen * torch.arange(n).view(s)).sum() / seen.sum() for n, s in ((40, (-1, 1)), (30, (1, -1))))
    found = left + (float(column) + 0.5) / 30 * (right - left), top + (float(row) + 0.5) / 40 * (bottom - top)
    assert found == pytest.approx((20.5, 40.5), abs=0.2)  # in px from the picture's corner


@pytest.mark.parametrize("setting", [{"do_affine_transform": False}, {"normalize_factor": 100.0}])
def test_settings_that_find_no_joints_again_are_not_read(setting):
    with ignored("Sensorium does not read the recipe"):
        assert ImageProcessor.from_transformers(transformers.VitPoseImageProcessor(**setting)).recipe is None


@pytest.mark.parametrize("size", [(0, 30), (1, 30), (2**14, 30), (2**13, 2**13), (40,), ("40", 30)])
def test_sizes_that_are_none(size):
    with pytest.raises(CheckpointError, match="a window of 2 to"):
        BoxCrop(size)


def test_one_pixel_is_too_little_to_sample():
    with pytest.raises(InputError, match="needs 2 px a side"):
        cut(BoxCrop((40, 30), sampled=True), make_image(1, 9), [[0, 0, 1, 9]])
