"""The way back from the model's input to the picture, against where the recipe itself puts a dot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.processors.geometry import CenterCrop, CropToRatio, FlipChannels, Resize, ToFloat
from sensorium.processors.recipe import Recipe
from sensorium.processors.region import region

RECIPES = {
    "nothing": Recipe(),
    "exact": Recipe((Resize("exact", (60, 90)),)),
    "shortest, cropped": Recipe((Resize("shortest", (80, 80)), CenterCrop((64, 70)), FlipChannels())),
    "odd margins": Recipe((Resize("shortest", (81, 81)), CenterCrop((60, 60)))),
    "half-even margins": Recipe((Resize("shortest", (81, 81)), CenterCrop((60, 60), half_even=True))),
    "padded by the crop": Recipe((ToFloat(), Resize("exact", (40, 50)), CenterCrop((64, 47)))),
    "ratio first": Recipe((CropToRatio((0.9, 0.7)), Resize("exact", (64, 64)))),
    "padded after": Recipe((Resize("within", (50, 60)),), pad_to=(80, 70)),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("height", "width"), [(120, 90), (75, 160), (101, 101)])
def test_a_dot_comes_back_to_where_it_was(name, height, width):
    recipe = RECIPES[name]
    x, y = 0.47 * width, 0.55 * height
    columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    image = torch.from_numpy(spot.astype(np.float32)).expand(3, -1, -1).contiguous()
    seen = recipe.finish(recipe.fit(image)[None])[0, 0].numpy()
    weight = seen / seen.sum()
    found_x = float((weight.sum(0) * (np.arange(seen.shape[1]) + 0.5)).sum()) / seen.shape[1]
    found_y = float((weight.sum(1) * (np.arange(seen.shape[0]) + 0.5)).sum()) / seen.shape[0]
    left, top, right, bottom = region(recipe, height, width)
    assert left + found_x * (right - left) == pytest.approx(x, abs=0.35)
    assert top + found_y * (bottom - top) == pytest.approx(y, abs=0.35)
