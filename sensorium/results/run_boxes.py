"""Where the runs of a mask lie in its picture, and their px there, without unpacking the whole mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, px; right and bottom are the first px behind it."""


def box_of(lengths: NDArray[np.int64], size: tuple[int, int]) -> Box:
    """The box around a mask's ones; zeros if there are none.

    Args:
        lengths: `(R,)` integers, as `results.rle.runs` gives them.
        size: (H, W) of the mask.
    """
    height = size[0]
    ends = lengths.cumsum()
    starts, ends = ends[:-1:2], ends[1::2]
    some = ends > starts
    if not some.any():
        return (0, 0, 0, 0)
    starts, lasts = starts[some], ends[some] - 1
    first, last = starts // height, lasts // height
    left, right = int(first[0]), int(last[-1]) + 1
    if (first != last).any():  # a run that goes on in the next column has both the lowest row and the highest
        return left, 0, right, height
    return left, int((starts % height).min()), right, int((lasts % height).max()) + 1


def part_of(lengths: NDArray[np.int64], size: tuple[int, int], box: Box) -> NDArray[np.bool_]:
    """The px of a mask within a box.

    Args:
        lengths: as for `box_of`.
        size: (H, W) of the mask.
        box: within the mask.

    Returns:
        `(bottom - top, right - left)` bool; its memory lies column by column.
    """
    left, top, right, bottom = box
    height = size[0]
    ends = lengths.cumsum().clip(left * height, right * height)
    inside = np.diff(ends, prepend=left * height)
    values = np.arange(len(lengths)) % 2 == 1
    columns: NDArray[np.bool_] = np.repeat(values, inside).reshape(right - left, height)
    return columns[:, top:bottom].T
