"""Masks over pictures: each is drawn within its own box, so that many small ones cost little."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sensorium.results.drawing import blend, contour
from sensorium.results.lettering import Colour
from sensorium.results.run_boxes import box_of, part_of
from sensorium.results.tags import Tags, line_width

if TYPE_CHECKING:
    from PIL import Image

Runs = NDArray[np.int64]


def lay_over(
    canvas: Image.Image, masks: Iterable[tuple[Runs, Colour]], *, alpha: float = 0.5, outline: float = 1.0
) -> None:
    """Lays each mask over a picture in its colour, with its contour, in place and in this order.

    Args:
        canvas: RGB.
        masks: the runs of each, of the picture's size, as `results.rle.runs` gives them, and its colour.
        alpha: how much of the colour lies within, in [0, 1].
        outline: how much of it along the contour.
    """
    size, width = (canvas.height, canvas.width), max(1, line_width(canvas) // 2)
    for lengths, fill in masks:
        left, top, right, bottom = box_of(lengths, size)
        if left == right:
            continue
        box = (max(0, left - width), max(0, top - width), min(size[1], right + width), min(size[0], bottom + width))
        part = np.ascontiguousarray(part_of(lengths, size, box))
        blend(canvas, part, fill, alpha, at=box[:2])
        blend(canvas, contour(part, width), fill, outline, at=box[:2])


def name_masks(
    canvas: Image.Image,
    masks: Sequence[Runs],
    labels: Sequence[str],
    scores: Sequence[float] | None,
    colours: Sequence[Colour],
) -> None:
    """Writes the label of each mask, with its score where there are any, in this order.

    It stands where the mask is widest, or beside one that is narrower or hardly higher than itself.

    Args:
        canvas: RGB.
        masks: as `lay_over` takes them; empty ones get no label.
        labels: of each, untrusted.
        scores: of each, or None.
        colours: of each.
    """
    tags, size = Tags(canvas), (canvas.height, canvas.width)
    for i, lengths in enumerate(masks):
        anchor = widest(lengths, size)
        if anchor is not None:
            box = box_of(lengths, size)
            score = None if scores is None else scores[i]
            small = box[3] - box[1] < 2 * tags.height_px or box[2] - box[0] < tags.width_px(labels[i], score)
            tags.add(box if small else (*anchor, *anchor), labels[i], score, colours[i])
    tags.draw()


def widest(lengths: Runs, size: tuple[int, int]) -> tuple[float, float] | None:
    """Where a label goes: the middle of the longest run among a mask's rows; None for an empty one."""
    box = box_of(lengths, size)
    if box[0] == box[2]:
        return None
    padded = np.pad(part_of(lengths, size, box), ((0, 0), (1, 1))).view(np.int8)
    change = np.diff(padded, axis=1)
    rows, starts = np.nonzero(change == 1)
    _, ends = np.nonzero(change == -1)
    across = ends - starts
    longest = np.flatnonzero(across >= 0.95 * across.max())
    best = longest[len(longest) // 2]
    return float(box[0] + starts[best] + across[best] / 2), float(box[1] + rows[best])
