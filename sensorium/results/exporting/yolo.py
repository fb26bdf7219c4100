"""YOLO's text: a line for each object, its class and its box or its outline in shares of the picture.

A box is `class x y width height`, its middle first; an outline is `class x0 y0 x1 y1 …` (Ultralytics, "Object Detection
Datasets" and "Instance Segmentation Datasets").
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from sensorium.results.exporting.categories import Categories
from sensorium.results.exporting.found_objects import FoundObjects, Size, chosen_shapes, chosen_tolerance
from sensorium.results.exporting.polygons import bridged, outlines, rings

SHAPES = ("polygons",)
"""The forms that a mask may have."""


def text(
    found: FoundObjects,
    categories: Categories,
    *,
    size: Size | None,
    shapes: str | None,
    scores: bool,
    tolerance_px: float | None,
) -> str:
    """The lines; see `ObjectRows.to_yolo`."""
    size = found.sized(size)
    shapes = chosen_shapes(found, shapes, SHAPES)
    tolerance = chosen_tolerance(shapes, tolerance_px, 1.0)
    if scores and found.scores is None:
        raise ValueError("this result has no scores to write; leave scores=True out")
    whole = np.array(size[::-1], np.float64)
    lines = []
    for i, number in enumerate(categories.numbers(found)):
        shares = _box(found, i, whole) if shapes == "boxes" else _outline(found, i, tolerance)
        if shares is None:
            continue
        last = [f"{float(found.scores[i]):.6g}"] if scores and found.scores is not None else []
        lines.append(" ".join([str(number), *(f"{share:.6f}" for share in shares), *last]))
    return "".join(f"{line}\n" for line in lines)


def _box(found: FoundObjects, i: int, whole: NDArray[np.float64]) -> list[float] | None:
    """Of the part within the picture, as readers refuse what lies beyond; None where there is none."""
    first, last = (found.xyxy[i].reshape(2, 2) / whole).clip(0, 1)
    sides = last - first
    return [*((first + last) / 2).tolist(), *sides.tolist()] if (sides > 0).all() else None


def _outline(found: FoundObjects, i: int, tolerance_px: float) -> list[float] | None:
    """One closed line for all parts of a mask, joined by cuts; None for an empty one."""
    assert found.runs is not None
    assert found.size is not None
    parts = rings(outlines(found.runs[i], found.size, tolerance_px=tolerance_px))
    if not parts:
        return None
    shares: list[float] = (functools.reduce(bridged, parts) / found.size[::-1]).ravel().tolist()
    return shares
