"""The boxes of a picture from those of its windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sensorium.tasks.slicing.grouping import AGREE, Match, grouped
from sensorium.tasks.slicing.windows import ImageWindow, neighbours

_NEAR = 0.02  # of a window's side: a box that ends so near to its border may be cut there


class WindowBoxes(NamedTuple):
    """What was found in a window.

    Attributes:
        window: the window.
        xyxy: `(N, 4)` float32, px of the window.
        scores: `(N,)` float32.
        ids: `(N,)` int64, class numbers.
    """

    window: ImageWindow
    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    ids: NDArray[np.int64]


def joined(parts: Sequence[WindowBoxes]) -> WindowBoxes:
    """What was found in the picture, in its px; each object once, the best first. One window's is left as it is.

    Two windows' boxes of one class are one object where they agree within what both windows show: by IoU, or by how
    much of the smaller lies in the larger where one of them is cut at its window's border. The object has the best
    score among them; a side is that of the best box that was not cut there, or of one that reaches beyond its window.
    """
    if len(parts) == 1:
        return parts[0]
    windows = [part.window for part in parts]
    moved = [part.xyxy + np.array(part.window.area[:2] * 2, np.float32) for part in parts]
    counts = [len(part.scores) for part in parts]
    xyxy, scores, ids = np.concatenate(moved), *(np.concatenate(each) for each in list(zip(*parts, strict=True))[2:])
    of = np.repeat(np.arange(len(parts)), counts)
    groups = grouped(of.tolist(), _matches(parts, moved, np.cumsum([0, *counts])))
    best = np.array([group[int(scores[group].argmax())] for group in groups], np.int64)
    whole = np.array([_whole(group, windows, of, xyxy, scores) for group in groups], np.float32).reshape(-1, 4)
    order = np.argsort(-scores[best], kind="stable")
    return WindowBoxes(windows[0], whole[order], scores[best][order], ids[best][order])


def best_of(found: WindowBoxes, top_k: int | None) -> WindowBoxes:
    """Those with the best scores, in the order in which they are."""
    if top_k is None or len(found.scores) <= top_k:
        return found
    kept = np.sort(np.argsort(-found.scores, kind="stable")[:top_k])
    return found._replace(xyxy=found.xyxy[kept], scores=found.scores[kept], ids=found.ids[kept])


def _matches(
    parts: Sequence[WindowBoxes], moved: list[NDArray[np.float32]], firsts: NDArray[np.int64]
) -> Iterator[Match]:
    """The pairs of boxes of two windows that agree within what both show."""
    for i, j, common in neighbours([part.window for part in parts]):
        if not len(moved[i]) or not len(moved[j]):
            continue
        limits = (common.left, common.top), (common.right, common.bottom)
        a, b = (boxes.reshape(-1, 2, 2).clip(*limits) for boxes in (moved[i], moved[j]))
        low, high = np.maximum(a[:, None, 0], b[None, :, 0]), np.minimum(a[:, None, 1], b[None, :, 1])
        inner = (high - low).clip(min=0).prod(-1)
        areas = [(each[:, 1] - each[:, 0]).clip(min=0).prod(-1) for each in (a, b)]
        union, least = areas[0][:, None] + areas[1] - inner, np.minimum(areas[0][:, None], areas[1])
        cut = np.logical_or.outer(_cut(moved[i], parts[i].window), _cut(moved[j], parts[j].window))
        agreed = inner >= AGREE * np.where(cut, least, union)
        agreed &= (inner > 0) & (parts[i].ids[:, None] == parts[j].ids)
        for first, second in np.argwhere(agreed).tolist():
            iou = float(inner[first, second] / union[first, second])
            yield Match(iou, int(firsts[i]) + first, int(firsts[j]) + second)


def _cut(boxes: NDArray[np.float32], window: ImageWindow) -> NDArray[np.bool_]:
    """`(N,)` bool, which boxes may be cut at a border of their window."""
    sides = [_is_cut(boxes[:, side], side, window) for side in range(4)]
    return np.asarray(np.logical_or.reduce(sides))


def _whole(
    group: list[int],
    windows: list[ImageWindow],
    of: NDArray[np.int64],
    xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> list[float]:
    """The box of an object that several windows show."""
    best_first = sorted(group, key=lambda i: -scores[i])
    sides = []
    for side, outermost in enumerate((min, min, max, max)):
        whole = [i for i in best_first if not _is_cut(xyxy[i, side], side, windows[of[i]])]
        if not whole:
            sides.append(outermost(float(xyxy[i, side]) for i in group))
            continue
        seen = windows[of[whole[0]]].area[side]  # what lies beyond, the best one could not show
        beyond = [i for i in whole if outermost(seen, xyxy[i, side]) != seen]
        sides.append(outermost(float(xyxy[i, side]) for i in (whole[0], *beyond)))
    return sides


def _is_cut(at: Any, side: int, window: ImageWindow) -> Any:
    """Whether a side of boxes may lie at a border of their window that is none of the picture's."""
    border = window.area[side]
    if border == window.image[side]:
        return np.zeros(np.shape(at), bool)
    inwards = at - border if side < 2 else border - at
    return inwards <= _NEAR * window.size[1 - side % 2]
