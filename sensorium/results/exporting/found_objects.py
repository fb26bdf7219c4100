"""FoundObjects: what the exports know of the objects of one picture, whatever kind of result they come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""(height, width), px."""


@dataclass(frozen=True)
class FoundObjects:
    """N objects of a picture.

    Attributes:
        xyxy: `(N, 4)` float64, left, top, right and bottom side of each, px; a mask's are the outer edges of its px.
        labels: N class names.
        ids: `(N,)` int64, class numbers; -1 where the result has none.
        scores: `(N,)` float32; None where there are none.
        size: (height, width) of the picture, px; None where it is not known.
        runs: each object's mask, as `results.rle.runs` gives it; None where there are boxes only.
    """

    xyxy: NDArray[np.float64]
    labels: list[str]
    ids: NDArray[np.int64]
    scores: NDArray[np.float32] | None
    size: Size | None
    runs: list[NDArray[np.int64]] | None = None

    def sized(self, size: Size | None) -> Size:
        """The picture's size: the given one, or the result's own.

        Raises:
            ValueError: neither is known, they differ, or it is no size.
        """
        if size is None:
            if self.size is None:
                raise ValueError("this result does not know its picture's size: pass size=(height, width) in px")
            return self.size
        height, width = int(size[0]), int(size[1])
        if height < 1 or width < 1:
            raise ValueError(f"size is (height, width) of the picture, px, from 1, got {tuple(size)}")
        if self.size not in (None, (height, width)):
            raise ValueError(f"the result is of a picture of (height, width) {self.size}, got size={tuple(size)}")
        return height, width


def chosen_shapes(found: FoundObjects, asked: str | None, masks_as: tuple[str, ...]) -> str:
    """In which form objects are written: "boxes", or one of those for masks.

    Args:
        found: the objects.
        asked: what the caller wants; None for boxes where there are no masks, else the first of `masks_as`.
        masks_as: the forms that masks may have.

    Raises:
        ValueError: no such form, or one that needs masks.
    """
    if asked is None:
        return "boxes" if found.runs is None else masks_as[0]
    if asked not in ("boxes", *masks_as):
        raise ValueError(f"shapes is one of {', '.join(('boxes', *masks_as))}, got {asked!r}")
    if asked != "boxes" and found.runs is None:
        raise ValueError(f"this result has boxes and no masks, so shapes={asked!r} cannot be; leave it out")
    return asked


def chosen_tolerance(shapes: str, asked: float | None, default: float) -> float:
    """How far a polygon may lie from its mask's edge, px.

    Raises:
        ValueError: it is negative or not finite, or no polygons are written.
    """
    if asked is None:
        return default
    if shapes != "polygons":
        raise ValueError(f'tolerance_px is for shapes="polygons", and {shapes} are written; leave it out')
    if not 0 <= asked < float("inf"):
        raise ValueError(f"tolerance_px is a number of px from 0, got {asked!r}")
    return float(asked)
