"""Polygons to masks by COCO's rule, so that they are those of pycocotools to the px.

A line is followed in steps of a fifth of a px; where it passes the middle of a column, the column changes between
inside and outside from the next row on (Lin et al., cocoapi, `maskApi.c`, `rleFrPoly`). Several polygons of one object
are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.rle import runs_between

_STEPS = 5  # a px
_MAX_PX = 2**23  # around one polygon that is read; it may come from anywhere


def filled(polygons: Sequence[Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """The mask of an object's polygons.

    Args:
        polygons: each `[x0, y0, x1, y1, …]`, px, three corners at least.
        size: (H, W) of the picture.

    Returns:
        `(R,)` int64, its runs, as `results.rle.runs` gives them.

    Raises:
        ValueError: not such a polygon, or one that reaches far beyond any picture.
    """
    height, width = size
    edges = [_toggles(_corners(polygon), size) for polygon in polygons]
    if len(edges) == 1:
        changes = edges[0]
    else:  # the union: where one of them begins, or the last ends
        places = np.concatenate(edges)
        steps = np.concatenate([1 - 2 * (np.arange(len(each)) % 2) for each in edges])
        order = np.argsort(places, kind="stable")
        places, inside = places[order], steps[order].cumsum()
        last = np.append(places[1:] != places[:-1], True)[: len(places)]
        places, some = places[last], inside[last] > 0
        changes = places[np.diff(some, prepend=False)]
    starts_set = bool(len(changes) and changes[0] == 0)
    changes = changes[(changes > 0) & (changes < height * width)]
    return runs_between(changes, height * width, starts_set=starts_set)


def _corners(polygon: Any) -> NDArray[np.float64]:
    try:
        flat = np.array(polygon, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a polygon is a list of numbers, got {polygon!r:.200}") from error
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
        raise ValueError(f"a polygon is [x0, y0, x1, y1, …], three corners at least, got {polygon!r:.200}")
    return flat.reshape(-1, 2)


def _toggles(corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Where, column by column, the px change between outside and inside; ascending."""
    height, width = size
    u, v = _dense(corners, min(_MAX_PX, 1000 + 16 * (height + width) + 2 * height * width))
    crossed = np.flatnonzero(u[1:] != u[:-1])
    before, after = u[crossed], u[crossed + 1]
    x = (np.where(after < before, after, after - 1) + 0.5) / _STEPS - 0.5
    y = (np.minimum(v[crossed], v[crossed + 1]) + 0.5) / _STEPS - 0.5
    kept = (np.floor(x) == x) & (x >= 0) & (x <= width - 1)
    places = x[kept].astype(np.int64) * height + np.ceil(y[kept].clip(0, height)).astype(np.int64)
    values, counts = np.unique(places, return_counts=True)
    return np.asarray(values[counts % 2 == 1])


def _dense(corners: NDArray[np.float64], max_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All points of a closed line, in fifths of a px: of each edge those along its longer axis, both ends included."""
    if np.abs(corners).max() > max_px:
        raise ValueError(f"a polygon's corners lie in its picture, got one {np.abs(corners).max():g} px away")
    points = np.trunc(_STEPS * corners + 0.5).astype(np.int64)
    start, end = points, np.roll(points, -1, axis=0)
    way = end - start
    wide = np.abs(way[:, 0]) >= np.abs(way[:, 1])
    long = np.where(wide, 0, 1)
    rows = np.arange(len(way))
    flip = way[rows, long] < 0
    low = np.where(flip[:, None], end, start)
    far, aside = np.abs(way[rows, long]), np.where(flip, -1, 1) * way[rows, 1 - long]
    counts = far + 1
    if int(counts.sum()) > _STEPS * max_px + len(counts):
        raise ValueError(f"a polygon of this picture is at most {max_px} px around, got {counts.sum() // _STEPS} px")
    slope = aside / np.maximum(far, 1)
    edge = np.repeat(rows, counts)
    step = np.arange(len(edge)) - np.repeat(counts.cumsum() - counts, counts)
    t = np.where(flip[edge], far[edge] - step, step)
    along = low[rows, long][edge] + t
    beside = np.trunc(low[rows, 1 - long][edge] + slope[edge] * t + 0.5).astype(np.int64)
    u, v = np.where(wide[edge], along, beside), np.where(wide[edge], beside, along)
    return u, v
