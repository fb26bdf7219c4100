"""The windows of a large picture: all of one size, evenly spread, each overlapping its neighbours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from sensorium.errors import OptionError
from sensorium.tasks.options import Options, Range

OVERLAP = 0.2


@dataclass(frozen=True)
class SlicedOptions(Options):
    """Options of tasks that look at large pictures window by window.

    Attributes:
        slice_px: width and height of the windows in which a larger picture is looked at, px of the picture; what is
            found in several becomes one. None for the whole picture at once.
        overlap: the share of a window's side that it has in common with the next one, at least; an object across a
            border is found whole where it fits into it. For `slice_px`.
    """

    slice_px: Annotated[int | None, Range(1, unit="px", none="the whole picture at once")] = None
    overlap: Annotated[float, Range(0, 0.9)] = OVERLAP

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slice_px is None and self.overlap != OVERLAP:
            raise OptionError("overlap is that of windows, which slice_px=640 makes; pass both, or leave overlap out")


class Area(NamedTuple):
    """A part of a picture, px; right and bottom are the first px behind it."""

    left: int
    top: int
    right: int
    bottom: int

    def common(self, other: Area) -> Area | None:
        """What both cover; None for nothing."""
        low = max(self.left, other.left), max(self.top, other.top)
        high = min(self.right, other.right), min(self.bottom, other.bottom)
        return Area(*low, *high) if low[0] < high[0] and low[1] < high[1] else None

    def within(self, other: Area) -> tuple[slice, slice]:
        """The rows and columns of this area in an array of another one that holds it."""
        return (
            slice(self.top - other.top, self.bottom - other.top),
            slice(self.left - other.left, self.right - other.left),
        )


class ImageWindow(NamedTuple):
    """A window of a picture.

    Attributes:
        image_size: (height, width) of the picture, px.
        area: what it shows.
        cell: the part that is its own, up to the middle of what it shares with each neighbour; the cells of all windows
            are the picture.
    """

    image_size: tuple[int, int]
    area: Area
    cell: Area

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), px."""
        return self.area.bottom - self.area.top, self.area.right - self.area.left

    @property
    def image(self) -> Area:
        """The whole picture."""
        return Area(0, 0, self.image_size[1], self.image_size[0])


def image_windows(size: tuple[int, int], options: SlicedOptions) -> Iterator[ImageWindow]:
    """The windows of a picture, row by row; one that is the whole picture where it fits.

    Args:
        size: (height, width) of the picture, px.
        options: of the call.
    """
    rows, columns = (_axis(pixels, options) for pixels in size)
    for (top, bottom, high, low), (left, right, first, last) in itertools.product(rows, columns):
        yield ImageWindow(size, Area(left, top, right, bottom), Area(first, high, last, low))


def neighbours(windows: Sequence[ImageWindow]) -> Iterator[tuple[int, int, Area]]:
    """The pairs of windows that share px, by their numbers, and what they share."""
    for i, window in enumerate(windows):
        for j in range(i + 1, len(windows)):
            if windows[j].area.top >= window.area.bottom:
                break  # row by row: all others lie further below
            common = window.area.common(windows[j].area)
            if common is not None:
                yield i, j, common


def _axis(pixels: int, options: SlicedOptions) -> list[tuple[int, int, int, int]]:
    """Where the windows of an axis begin and end, and where their cells do."""
    side = options.slice_px
    if side is None or pixels <= side:
        return [(0, pixels, 0, pixels)]
    step = max(1, math.floor(side * (1 - options.overlap)))
    count = 1 + math.ceil((pixels - side) / step)
    starts = [i * (pixels - side) // (count - 1) for i in range(count)]
    borders = [0, *((after + before + side) // 2 for before, after in itertools.pairwise(starts)), pixels]
    return [(start, start + side, *cell) for start, cell in zip(starts, itertools.pairwise(borders), strict=True)]
