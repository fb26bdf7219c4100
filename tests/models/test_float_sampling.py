"""Sampling in float32 within models of half precision."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import grid_sample, interpolate

from sensorium.models.float_sampling import float32_sampling


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_places_and_maps_are_taken_in_float32(dtype):
    """The maps are laid out as deformable attention gives them: channels next to each other, not contiguous."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 80 * 80, 8, 32, generator=generator).to(dtype)
    maps = rows.flatten(2).transpose(1, 2).reshape(8, 32, 80, 80)
    places = (torch.rand(8, 30, 4, 2, generator=generator) * 2.4 - 1.2).to(dtype)
    with float32_sampling(dtype):
        got = grid_sample(maps, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        keyword = grid_sample(maps, grid=places, align_corners=False)
    expected = grid_sample(maps.float(), places.float(), align_corners=False).to(dtype)
    assert not maps.is_contiguous()
    assert got.dtype == dtype
    assert torch.equal(got, expected)
    assert torch.equal(keyword, expected)


def test_other_functions_and_float32_are_left_alone():
    maps, places = torch.rand(1, 2, 5, 5), torch.rand(1, 3, 3, 2)
    with float32_sampling(torch.float32):
        assert torch.equal(
            grid_sample(maps, places, align_corners=False), grid_sample(maps, places, align_corners=False)
        )
    with float32_sampling(torch.bfloat16):
        assert interpolate(maps.bfloat16(), scale_factor=2).dtype == torch.bfloat16
        assert grid_sample(maps, places, align_corners=False).dtype == torch.float32
