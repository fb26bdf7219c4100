"""Tiles over a picture: all of it is covered, and what is cut comes back joined."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.tasks.tiles.grid import TileGrid

SIDES = st.integers(1, 300)


@settings(max_examples=150, deadline=None)
@given(
    height=SIDES,
    width=SIDES,
    tile=st.integers(16, 120),
    share=st.floats(0, 0.5),
    multiple=st.sampled_from([1, 7, 8]),
    scale=st.integers(1, 3),
)
def test_what_is_cut_comes_back(height, width, tile, share, multiple, scale):
    padded = tuple(-(-side // multiple) * multiple for side in (height, width))
    overlap = int(share * tile)
    grid = TileGrid.over((height, width), padded, tile_px=tile, overlap_px=overlap, multiple=multiple)
    for starts, length, side, whole in (
        (grid.tops, grid.height, height, padded[0]),
        (grid.lefts, grid.width, width, padded[1]),
    ):
        assert starts[0] == 0
        assert starts[-1] + length == whole
        assert all(start % multiple == 0 for start in starts)
        assert (len(starts) == 1) or side > tile
        assert length <= max(tile, 2 * multiple) or len(starts) == 1
        most = max(2, tile // multiple)
        shared = min(-(-overlap // multiple), most - 1) * multiple
        assert all(one + length - other >= shared for one, other in itertools.pairwise(starts))
    picture = torch.arange(padded[0] * padded[1]).reshape(1, *padded) % 50_000
    tiles = [one.permute(1, 2, 0).numpy().astype(np.uint16) for one in grid.cut(picture)]
    tiles = [one.repeat(scale, 0).repeat(scale, 1) for one in tiles]
    joined = grid.joined(tiles, (height * scale, width * scale), scale)
    expected = picture[0, :height, :width].numpy().repeat(scale, 0).repeat(scale, 1)
    assert np.abs(joined[..., 0].astype(int) - expected).max() <= 1, "a mix of two equal levels is rounded"


def test_one_tile_goes_over_into_the_next_step_by_step():
    grid = TileGrid.over((8, 56), (8, 56), tile_px=32, overlap_px=8, multiple=8)
    assert (grid.lefts, grid.width, grid.tops, grid.height) == ((0, 24), 32, (0,), 8)
    tiles = [np.full((8, 32, 1), level, np.uint16) for level in (1000, 2000)]
    row = grid.joined(tiles, (8, 56), 1)[3, :, 0].astype(int)
    assert (row[:24] == 1000).all()
    assert (row[32:] == 2000).all()
    assert np.array_equal(row[24:32], np.rint(1000 + 1000 * (np.arange(8) + 0.5) / 8))


def test_tiles_of_1080p_cost_a_seventh_more_than_one_pass():
    grid = TileGrid.over((1080, 1920), (1088, 1928), tile_px=512, overlap_px=32, multiple=8)
    assert (len(grid.tops), len(grid.lefts)) == (3, 4)
    assert 12 * grid.height * grid.width < 1.15 * 1080 * 1920
