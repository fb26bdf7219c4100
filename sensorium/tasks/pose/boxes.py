"""The boxes in which joints are looked for: as they are given with a picture, and as a detector finds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.errors import InputError

SMALLEST_PX = 1e-3
"""A box without a longer side has no area."""

_FARTHEST_PX = 2.0**31


class AskedBoxes(NamedTuple):
    """One picture and where to look on it.

    Attributes:
        image: in any form.
        boxes: as they were given; None where none were.
        scores: `(N,)` of a detector's boxes; None for others.
    """

    image: Any
    boxes: Any
    scores: NDArray[np.float32] | None = None


def read_asked(raw: Any) -> AskedBoxes:
    """Takes an input apart.

    Raises:
        InputError: a mapping without an image ("no-image"), or with a key that is none ("bad-prompt").
    """
    if not isinstance(raw, Mapping):
        return AskedBoxes(raw, None)
    if "image" not in raw or set(raw) - {"image", "boxes"}:
        raise InputError(
            f"an input has the keys image and, as needed, boxes; got {', '.join(map(str, raw)) or 'none'}",
            code="bad-prompt" if "image" in raw else "no-image",
        )
    return AskedBoxes(raw["image"], raw.get("boxes"))


def read_boxes(given: Any, height: int, width: int) -> NDArray[np.float64]:
    """`(N, 4)` xyxy px: boxes that a caller gives; there may be none.

    Args:
        given: `(4,)` or `(N, 4)`; lists, an array or a tensor.
        height: of the picture, px.
        width: of the picture, px.

    Raises:
        InputError: a wrong shape, something other than numbers, a box without area ("bad-prompt"), or one that is not
            on the picture ("prompt-outside").
    """
    try:
        boxes = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"boxes hold something other than numbers, or rows of different lengths: {given!r:.100}", code="bad-prompt"
        ) from error
    if boxes.size == 0 and boxes.ndim in (1, 2):
        return np.zeros((0, 4))
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4 or not (np.abs(boxes) < _FARTHEST_PX).all():
        raise InputError(
            "boxes are (4,) for one person, [x0, y0, x1, y1], or (N, 4) for N people, of finite numbers, got "
            f"{boxes.tolist()!r:.100}",
            code="bad-prompt",
        )
    boxes = boxes.reshape(-1, 4)
    solid, inside = _solid(boxes), _inside(boxes, height, width)
    if not solid.all():
        raise InputError(
            f"the box {boxes[~solid][0].tolist()} has no area; a box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1",
            code="bad-prompt",
        )
    if not inside.all():
        raise InputError(
            f"the box {boxes[~inside][0].tolist()} lies outside the picture, which is {width}x{height} px; boxes are "
            "[x0, y0, x1, y1]",
            code="prompt-outside",
        )
    return boxes


def usable(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """`(N,)` bool: which of a detector's boxes have an area and lie on the picture."""
    return np.asarray((np.abs(boxes) < _FARTHEST_PX).all(1) & _solid(boxes) & _inside(boxes, height, width))


def _solid(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray((sides > 0).all(1) & (sides >= SMALLEST_PX).any(1))


def _inside(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """A box that sticks out is still a box."""
    return np.asarray((boxes[:, 2:] > 0).all(1) & (boxes[:, :2] < (width, height)).all(1))
