"""The map of a picture's segments from those of its windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sensorium.tasks.slicing.grouping import AGREE, Match, grouped
from sensorium.tasks.slicing.windows import ImageWindow, neighbours


class WindowSegments(NamedTuple):
    """The segments of a window.

    Attributes:
        window: the window.
        segmentation: `(h, w)` integers of what the window shows; of semantic segmentation, of its cell.
        values: `(N,)` int64, the value of each segment there, from 1; None for semantic segmentation, whose values are
            classes.
        ids: `(N,)` int64, classes; None for semantic segmentation.
        scores: `(N,)` float32; None for semantic segmentation.
    """

    window: ImageWindow
    segmentation: NDArray[Any]
    values: NDArray[np.int64] | None = None
    ids: NDArray[np.int64] | None = None
    scores: NDArray[np.float32] | None = None


def joined_classes(parts: Sequence[WindowSegments]) -> NDArray[Any]:
    """The map of classes of the picture, each px from the window in whose cell it lies."""
    if len(parts) == 1:
        return parts[0].segmentation
    window = parts[0].window
    whole = np.empty(
        window.image_size, max((part.segmentation.dtype for part in parts), key=lambda kind: kind.itemsize)
    )
    for part in parts:
        whole[part.window.cell.within(window.image)] = part.segmentation
    return whole


def joined_segments(parts: Sequence[WindowSegments]) -> WindowSegments:
    """The segments of the picture, values from 1. One window's are left as they are.

    Two windows' segments of one class are one where they agree within what both windows show; it has the best score
    among them. Each px is that of the window in whose cell it lies; what has none left is left out.
    """
    if len(parts) == 1:
        return parts[0]
    firsts = np.cumsum([0, *(len(_values(part)) for part in parts)])
    of = np.repeat(np.arange(len(parts)), np.diff(firsts))
    ids, scores = (np.concatenate([np.asarray(part[field]) for part in parts]) for field in (3, 4))
    groups = grouped(of.tolist(), _matches(parts, firsts))
    number = np.zeros(int(firsts[-1]), np.int32)
    for place, group in enumerate(groups):
        number[group] = place + 1
    whole = np.zeros(parts[0].window.image_size, np.int16 if len(groups) < 2**15 else np.int32)
    for part, first in zip(parts, firsts.tolist(), strict=False):
        values = _values(part)
        table = np.zeros(1 + max(int(values.max(initial=0)), int(part.segmentation.max(initial=0))), whole.dtype)
        table[values] = number[first : first + len(values)]
        own = part.segmentation[part.window.cell.within(part.window.area)]
        whole[part.window.cell.within(part.window.image)] = table[own]
    left = np.flatnonzero(np.bincount(whole.ravel(), minlength=len(groups) + 1)[1:])
    kept = [groups[i] for i in left.tolist()]
    best = np.array([group[int(scores[group].argmax())] for group in kept], np.int64)
    return WindowSegments(parts[0].window, whole, left + 1, ids[best], scores[best])


def _values(part: WindowSegments) -> NDArray[np.int64]:
    return np.zeros(0, np.int64) if part.values is None else part.values


def _matches(parts: Sequence[WindowSegments], firsts: NDArray[np.int64]) -> Iterator[Match]:
    """The pairs of segments of two windows that agree within what both show."""
    for i, j, common in neighbours([part.window for part in parts]):
        a, b = parts[i], parts[j]
        if not len(_values(a)) or not len(_values(b)):
            continue
        first, second = (_places(part)[part.segmentation[common.within(part.window.area)]] for part in (a, b))
        wide = len(_values(b)) + 1
        counts = np.bincount((first * wide + second).ravel(), minlength=(len(_values(a)) + 1) * wide).reshape(-1, wide)
        inner = counts[1:, 1:]
        union = counts.sum(1)[1:, None] + counts.sum(0)[None, 1:] - inner
        iou = np.divide(inner, union, out=np.zeros(inner.shape), where=union > 0)
        iou[np.asarray(a.ids)[:, None] != np.asarray(b.ids)] = 0
        for row, column in np.argwhere(iou >= AGREE).tolist():
            yield Match(float(iou[row, column]), int(firsts[i]) + row, int(firsts[j]) + column)


def _places(part: WindowSegments) -> NDArray[np.int64]:
    """For each value of a window's map the place of its segment, from 1; 0 for none."""
    values = _values(part)
    table = np.zeros(1 + max(int(values.max(initial=0)), int(part.segmentation.max(initial=0))), np.int64)
    table[values] = np.arange(1, len(values) + 1)
    return table
