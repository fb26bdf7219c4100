"""The outlines of masks as polygons that run along the edges of px, exactly or smoothed.

Corners are whole numbers: a px at column x and row y reaches from (x, y) to (x + 1, y + 1). So the area that an outline
encloses is that of the mask, and drawn again by COCO's rule (`filling`) it is the same mask. Px that touch at a corner
only belong to outlines of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sensorium.results.run_boxes import box_of, part_of

Ring = NDArray[np.float64]
"""`(K, 2)`, the corners (x, y) of a closed line, px of the picture; the last is joined to the first."""

_CORNERS = np.zeros((16, 2, 3), np.int8)
"""For the four px around a point (1 left above, 2 right above, 4 left below, 8 right below; a sum of those that are
set): each line that has a corner there, at most two, as (1 if its horizontal edge lies to the right, 1 if its vertical
edge lies below, 1 if it leaves along the horizontal one). The mask lies to the right of a line's way."""
_COUNTS = np.zeros(16, np.int8)

for _code, *_lines in (
    (8, (1, 1, 1)),
    (4, (0, 1, 0)),
    (1, (0, 0, 1)),
    (2, (1, 0, 0)),
    (7, (1, 1, 0)),
    (11, (0, 1, 1)),
    (14, (0, 0, 0)),
    (13, (1, 0, 1)),
    (9, (0, 0, 1), (1, 1, 1)),
    (6, (1, 0, 0), (0, 1, 0)),
):
    _CORNERS[_code, : len(_lines)] = _lines
    _COUNTS[_code] = len(_lines)


class Polygon(NamedTuple):
    """A connected part of a mask.

    Attributes:
        outline: `(K, 2)` float64, its corners (x, y), px of the picture, clockwise as one sees it.
        holes: `(K, 2)` float64 for each hole in it, counter-clockwise.
    """

    outline: Ring
    holes: list[Ring]


def outlines(lengths: NDArray[np.int64], size: tuple[int, int], *, tolerance_px: float = 0.0) -> list[Polygon]:
    """The polygons of a mask, from left to right by their highest px; none for an empty one.

    Args:
        lengths: `(R,)` integers, as `results.rle.runs` gives them.
        size: (H, W) of the mask.
        tolerance_px: how far a polygon may lie from the edge of the mask; corners are left out accordingly (Douglas and
            Peucker, 1973). 0 keeps them all.
    """
    box = box_of(lengths, size)
    if box[0] == box[2]:
        return []
    mask = part_of(lengths, size, box)
    found = _rings(mask)
    owners = _owners(mask, found)
    moved: list[Ring] = [ring.astype(np.float64) + np.array(box[:2], np.float64) for ring in found]
    kept = [ring if tolerance_px == 0 else simplified(ring, tolerance_px) for ring in moved]
    polygons = {i: Polygon(kept[i], []) for i, owner in enumerate(owners) if owner == i}
    for i, owner in enumerate(owners):
        if owner != i:
            polygons[owner].holes.append(kept[i])
    return list(polygons.values())


def rings(polygons: list[Polygon]) -> list[Ring]:
    """One closed line for each polygon: a hole is reached by a cut, along which the line goes in and out again.

    Formats whose polygons have no holes keep them so: filled, even or odd, it is the same area.
    """
    joined = []
    for polygon in polygons:
        ring = polygon.outline
        for hole in polygon.holes:
            ring = bridged(ring, hole)
        joined.append(ring)
    return joined


def bridged(ring: Ring, other: Ring) -> Ring:
    """Two closed lines as one, which goes from the corner of one to the nearest of the other, and back the same way."""
    if len(ring) * len(other) > 2**22:  # the nearest of some
        step = -(-len(ring) * len(other) // 2**22)
        near = np.arange(0, len(ring), step)
    else:
        near = np.arange(len(ring))
    distances = ((ring[near, None] - other[None]) ** 2).sum(-1)
    at, there = np.unravel_index(int(distances.argmin()), distances.shape)
    i, j = int(near[at]), int(there)
    return np.concatenate([ring[: i + 1], other[j:], other[: j + 1], ring[i:]])


def simplified(ring: Ring, tolerance_px: float) -> Ring:
    """The corners without which a closed line would lie more than so many px away; three at least."""
    if len(ring) < 4:
        return ring
    far = int(((ring - ring[0]) ** 2).sum(-1).argmax())
    line = np.concatenate([ring, ring[:1]])
    keep = np.zeros(len(line), bool)
    keep[[0, far, -1]] = True
    pending = [(0, far), (far, len(ring))]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        way, between = line[last] - line[first], line[first + 1 : last] - line[first]
        length = float(np.hypot(*way))
        if length:
            share = (between @ way / length**2).clip(0, 1)
            away = np.hypot(*(between - share[:, None] * way).T)
        else:
            away = np.hypot(*between.T)
        most = int(away.argmax())
        if away[most] > tolerance_px:
            keep[first + 1 + most] = True
            pending += [(first, first + 1 + most), (first + 1 + most, last)]
    if keep[:-1].sum() < 3:  # a third one, that it stays an area
        way = line[far] - line[0]
        keep[int(np.abs((line - line[0]) @ (-way[1], way[0])).argmax())] = True
    return np.asarray(line[:-1][keep[:-1]])


def _rings(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """All closed lines between a mask and what is around it, the first corner of each the highest, then leftmost."""
    padded = np.pad(mask, 1).view(np.uint8)
    code = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
    counts = _COUNTS[code]
    y, x = np.nonzero(counts)
    several = counts[y, x]
    told = _CORNERS[code[y, x]]
    twice = np.flatnonzero(several == 2)
    y, x = np.concatenate([y, y[twice]]), np.concatenate([x, x[twice]])
    right, below, leaves = np.concatenate([told[:, 0], told[twice, 1]]).T
    # Along a row each corner with an edge to its right is followed by the one at which that edge ends; so in columns.
    across, down = np.lexsort((right, x, y)), np.lexsort((below, y, x))
    follows = np.empty(len(y), np.int64)
    for order, along in ((across, leaves == 1), (down, leaves == 0)):
        partner = np.empty(len(y), np.int64)
        partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
        follows[along] = partner[along]
    points, found = np.stack([x, y], axis=1), []
    following, seen = follows.tolist(), bytearray(len(y))
    for start in across.tolist():
        if seen[start]:
            continue
        way, at = [], start
        while not seen[at]:
            seen[at] = 1
            way.append(at)
            at = following[at]
        found.append(points[way])
    return found


def _owners(mask: NDArray[np.bool_], found: list[NDArray[np.int64]]) -> list[int]:
    """For each line the number of the outline that it belongs to: its own, or that around the hole that it is.

    Left of a hole's first corner lies a px of the mask; the stretch of the mask that ends with it begins at a line of
    the same part, which lies higher, or further to the left.
    """
    owners = list(range(len(found)))
    holes = [i for i, ring in enumerate(found) if ring[1, 0] == ring[0, 0]]  # goes down first; an outline goes right
    if not holes:
        return owners
    at: dict[tuple[int, int], int] = {}
    wanted = {}
    for i in holes:
        x, y = found[i][0].tolist()
        before = np.flatnonzero(~mask[y, :x])
        wanted[i] = (int(before[-1]) + 1 if len(before) else 0, y)
    columns = {x for x, _ in wanted.values()}
    for i, ring in enumerate(found):
        after = np.roll(ring, -1, axis=0)
        upright = np.flatnonzero((ring[:, 0] == after[:, 0]) & np.isin(ring[:, 0], list(columns)))
        for x, a, b in zip(
            *(part[upright, axis].tolist() for part, axis in ((ring, 0), (ring, 1), (after, 1))), strict=True
        ):
            at.update(((x, row), i) for row in range(min(a, b), max(a, b)))
    for i in holes:  # in the order of their first corners, so that those before are known
        owners[i] = owners[at[wanted[i]]]
    return owners
