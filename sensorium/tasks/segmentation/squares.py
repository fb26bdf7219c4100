"""Pictures that a model sees square by square, along their longer side: the class scores of the squares joined.

The squares of a picture share batches with others'. Where all are in one batch, as they mostly are, they are joined on
the device; else they come down, and are joined where the picture is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from sensorium.models.on_device import brought
from sensorium.processors.image import ImageProcessor
from sensorium.processors.squares import square_starts
from sensorium.tasks.base import Unit
from sensorium.tasks.segmentation.maps import class_map
from sensorium.tasks.segmentation.queries import semantic_logits
from sensorium.tasks.slicing.segments import WindowSegments
from sensorium.tasks.slicing.windows import ImageWindow


class ImageSquare(NamedTuple):
    """A square of a window of a picture.

    Attributes:
        window: the window.
        fitted: (height, width) that the window was brought to, px.
        number: of the square, along the longer side.
        squares: how many the window has.
        of: what the squares of the window have in common, and no others.
    """

    window: ImageWindow
    fitted: tuple[int, int]
    number: int
    squares: int
    of: object


class SquareScores(NamedTuple):
    """What is known of a square, on the CPU.

    Attributes:
        square: the square.
        known: its `(Q, C + 1)` and `(Q, h, w)` logits; or the map of its window's cell, the first square's for all.
    """

    square: ImageSquare
    known: tuple[Tensor, ...]


def square_units(units: Iterator[Unit], processor: ImageProcessor) -> Iterator[Unit]:
    """A unit for each square of each window; `meta` is an `ImageSquare`."""
    for unit in units:
        height, width = unit.inputs["pixel_values"].shape[1:]
        pieces, token = processor.pieces(unit.inputs), object()
        for number, piece in enumerate(pieces):
            yield Unit(piece, ImageSquare(unit.meta, (height, width), number, len(pieces), token))


def square_scores(classes: Tensor, masks: Tensor, squares: Sequence[ImageSquare]) -> list[SquareScores]:
    """What is known of the squares of a batch.

    Args:
        classes: `(B, Q, C + 1)` float32 logits.
        masks: `(B, Q, h, w)` float32 logits.
        squares: of the rows; padding of the batch has none.
    """
    rows: dict[int, list[int]] = {}
    for row, square in enumerate(squares):
        rows.setdefault(id(square.of), []).append(row)
    known: list[list[Tensor]] = [[] for _ in squares]
    for group in rows.values():
        group.sort(key=lambda row: squares[row].number)
        if len(group) == squares[group[0]].squares:
            known[group[0]] = [joined_map([(squares[row], classes[row], masks[row]) for row in group])]
        else:
            for row in group:
                known[row] = [classes[row].clone(), masks[row].clone()]
    down = iter(brought([tensor for tensors in known for tensor in tensors]))
    return [
        SquareScores(square, tuple(itertools.islice(down, len(had))))
        for square, had in zip(squares, known, strict=True)
    ]


def window_classes(parts: Sequence[SquareScores]) -> list[WindowSegments]:
    """The classes of each window's cell; the parts are those of one picture, in order."""
    joined = []
    for window, group in itertools.groupby(parts, key=lambda part: part.square.window):
        rows: list[Any] = [(part.square, *part.known) for part in group if part.known]
        segmentation: Tensor = rows[0][1] if len(rows[0]) == 2 else joined_map(rows)
        joined.append(WindowSegments(window, segmentation.numpy()))
    return joined


def joined_map(squares: Sequence[Any]) -> Tensor:
    """The classes of a window's cell, from the mean scores of its squares, as EoMT's authors join them.

    Args:
        squares: all of a window, in order, each with its `(Q, C + 1)` and `(Q, h, w)` logits.

    Returns:
        `(h, w)` on the device of the logits.
    """
    window, fitted, *_ = squares[0][0]
    side, tall = min(fitted), fitted[0] > fitted[1]
    classes = squares[0][1].shape[-1] - 1
    total = squares[0][2].new_zeros((classes, *fitted))
    count = total.new_zeros(max(fitted))
    for (_, each, masks), start in zip(squares, square_starts(*fitted), strict=True):
        scores = semantic_logits(each, masks, (side, side))
        total.narrow(1 if tall else 2, start, side).add_(scores)
        count[start : start + side] += 1
    total /= count[:, None] if tall else count
    return class_map(total, window.size)[window.cell.within(window.area)].contiguous()
