"""Which finds of different windows are one object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

AGREE = 0.5
"""The share of their area in common, within what two windows show, from which finds of one class are one object."""


class Match(NamedTuple):
    """Two finds, by their numbers, and their IoU within what their windows share."""

    iou: float
    first: int
    second: int


def grouped(windows: list[int], matches: Iterable[Match]) -> list[list[int]]:
    """Finds that are one object, those that agree most joined first; an object has one find in a window at most.

    Args:
        windows: the window of each find.
        matches: finds of two windows that may be one object.

    Returns:
        The numbers of the finds of each object, ascending; the objects in the order of their first finds.
    """
    groups = {i: [i] for i in range(len(windows))}
    owner = list(range(len(windows)))
    for _, first, second in sorted(matches, key=lambda match: (-match.iou, match.first, match.second)):
        a, b = sorted((owner[first], owner[second]))
        if a == b or {windows[i] for i in groups[a]} & {windows[i] for i in groups[b]}:
            continue
        for i in groups[b]:
            owner[i] = a
        groups[a] += groups.pop(b)
    return [sorted(group) for _, group in sorted(groups.items())]
