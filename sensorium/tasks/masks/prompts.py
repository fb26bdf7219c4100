"""Points and boxes that mark objects in a picture: checked, and brought to one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.errors import InputError

NAMES = ("points", "point_labels", "boxes")


@dataclass(frozen=True)
class Prompts:
    """The prompts for one picture or crop, in its px.

    Attributes:
        points: `(N, P, 2)` float64 (a grid's are float32), (x, y), for each of N objects; or None.
        labels: `(N, P)` int64, 1 on the object and 0 off it; or None.
        boxes: `(N, 4)` float64, xyxy; or None.
    """

    points: NDArray[Any] | None
    labels: NDArray[np.int64] | None
    boxes: NDArray[np.float64] | None

    def __len__(self) -> int:
        either = self.boxes if self.points is None else self.points
        return 0 if either is None else len(either)

    def scaled(self, x: float, y: float) -> Prompts:
        """The same on a picture that is stretched by these factors."""
        factors = np.array([x, y, x, y])
        points = None if self.points is None else self.points * factors[:2].astype(self.points.dtype)
        return Prompts(points, self.labels, None if self.boxes is None else self.boxes * factors)


def read_prompts(raw: Mapping[str, Any], height: int, width: int) -> Prompts | None:
    """Reads what a caller gives.

    Args:
        raw: `points`, `(P, 2)` for one object or `(N, P, 2)` for N; `point_labels` of the same shape without the last
            axis, or None for all 1; `boxes`, `(4,)` or `(N, 4)`. Lists, arrays or tensors; px of the picture.
        height: of the picture, px.
        width: of the picture, px.

    Returns:
        The prompts, or None if there are none.

    Raises:
        InputError: wrong shapes, numbers or labels ("bad-prompt"), or a prompt off the picture ("prompt-outside").
    """
    points, given_labels, boxes = (None if raw.get(name) is None else read_array(name, raw[name]) for name in NAMES)
    if points is None and given_labels is not None:
        raise InputError("point_labels came without points; give both, or leave the labels out", code="bad-prompt")
    if points is None and boxes is None:
        return None
    labels: NDArray[np.int64] | None = None
    if points is not None:
        points, labels = _points(points, given_labels)
    if boxes is not None:
        boxes = read_boxes("boxes", boxes)
    if points is not None and boxes is not None and len(points) != len(boxes):
        raise InputError(
            f"points for {len(points)} objects came with {len(boxes)} boxes; give each object its points and its box",
            code="bad-prompt",
        )
    check_inside(points, boxes, height, width)
    return Prompts(points, labels, boxes)


def read_array(name: str, value: Any) -> NDArray[np.float64]:
    """Numbers that a caller gives, in whatever form."""
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} holds something other than numbers, or rows of different lengths: {_short(value)}. "
            f"Each object needs as many points as the others.",
            code="bad-prompt",
        ) from error
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds a number that is not finite", code="bad-prompt")
    return array


def _points(
    points: NDArray[np.float64], labels: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if points.ndim not in (2, 3) or points.shape[-1] != 2 or not points.size:
        raise InputError(
            f"points are (P, 2) for one object, [[x, y], …], or (N, P, 2) for N objects, got shape {points.shape}",
            code="bad-prompt",
        )
    if labels is None:
        labels = np.ones(points.shape[:-1])
    if labels.shape != points.shape[:-1]:
        raise InputError(
            f"point_labels has shape {labels.shape}, points {points.shape}; give one label for each point",
            code="bad-prompt",
        )
    count = points.shape[-2]
    marks = read_labels(labels, "a point's label is 1 (on the object) or 0 (off it)")
    return points.reshape(-1, count, 2), marks.reshape(-1, count)


def read_labels(labels: NDArray[np.float64], rule: str) -> NDArray[np.int64]:
    """Labels, which are 0 or 1, as the rule says."""
    if not np.isin(labels, (0, 1)).all():
        raise InputError(f"{rule}, got {_short(np.unique(labels).tolist())}", code="bad-prompt")
    return labels.astype(np.int64)


def read_boxes(name: str, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(4,)` or `(N, 4)` as `(N, 4)`, which have corners in order."""
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4 or not boxes.size:
        raise InputError(
            f"{name} are (4,) for one object, [x0, y0, x1, y1], or (N, 4) for N objects, got shape {boxes.shape}",
            code="bad-prompt",
        )
    boxes = boxes.reshape(-1, 4)
    if (boxes[:, :2] > boxes[:, 2:]).any():
        raise InputError(
            f"a box is [x0, y0, x1, y1] with x0 <= x1 and y0 <= y1, got {_short(boxes.tolist())}", code="bad-prompt"
        )
    return boxes


def check_inside(
    points: NDArray[np.float64] | None, boxes: NDArray[np.float64] | None, height: int, width: int
) -> None:
    """Refuses points off the picture, and boxes that do not touch it."""
    size = np.array([width, height])
    if points is not None and ((points < 0) | (points > size)).any():
        bad = points[((points < 0) | (points > size)).any(-1)][0]
        raise InputError(
            f"the point ({bad[0]:g}, {bad[1]:g}) lies outside the picture, which is {width}x{height} px; "
            f"points are (x, y)",
            code="prompt-outside",
        )
    if boxes is not None:
        off = ((boxes[:, 2:] < 0) | (boxes[:, :2] > size)).any(-1)  # a box that sticks out is still a prompt
        if off.any():
            raise InputError(
                f"the box {boxes[off][0].tolist()} lies outside the picture, which is {width}x{height} px; "
                f"boxes are (x0, y0, x1, y1)",
                code="prompt-outside",
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
