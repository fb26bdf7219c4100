"""The crops of a picture for mask generation, and the grid of points on each (Kirillov et al., segment-anything)."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def crop_boxes(height: int, width: int, *, layers: int, overlap_ratio: float) -> list[tuple[Box, int]]:
    """The picture itself, then in layer i a grid of 2^i by 2^i overlapping crops.

    Args:
        height: of the picture, px.
        width: of the picture, px.
        layers: how many layers of crops beside the picture itself.
        overlap_ratio: by what share of the picture's shorter side the crops of the first layer overlap; half as much
            in each further layer.

    Returns:
        `(xyxy, layer)` for each, px of the picture. Crops that hold no pixel, as in the last layers of a picture of
        a few px, are left out.
    """
    boxes: list[tuple[Box, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / side))
        wide = math.ceil((overlap * (side - 1) + width) / side)
        high = math.ceil((overlap * (side - 1) + height) / side)
        for column, row in product(range(side), repeat=2):
            left, top = (wide - overlap) * column, (high - overlap) * row
            box = (left, top, min(left + wide, width), min(top + high, height))
            if box[0] < box[2] and box[1] < box[3]:
                boxes.append((box, layer))
    return boxes


def point_grid(side: int, height: int, width: int) -> NDArray[np.float32]:
    """Points evenly spread over a crop, row by row.

    Args:
        side: points per side.
        height: of the crop, px.
        width: of the crop, px.

    Returns:
        `(side², 1, 2)` float32, (x, y) in px of the crop: each point is a prompt by itself.
    """
    steps = np.linspace(1 / (2 * side), 1 - 1 / (2 * side), side, dtype=np.float32)
    x, y = np.meshgrid(steps * np.float32(width), steps * np.float32(height))
    return np.stack([x, y], axis=-1).reshape(-1, 1, 2)
