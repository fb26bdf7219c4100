"""What was found on a part of a picture, placed on the picture itself."""

from __future__ import annotations

import copy
from functools import singledispatch
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sensorium.results import rle
from sensorium.results.detections import Detections
from sensorium.results.keypoints import Keypoints
from sensorium.results.masks import Masks
from sensorium.results.poses import Poses
from sensorium.results.result import Result, put_seconds, put_source
from sensorium.results.segments import Segments


class PartPlace(Protocol):
    """Where a part lies: a `Crop`."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom), px of the picture."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture, px."""
        ...

    @property
    def index(self) -> int:
        """The picture's position among the inputs."""
        ...

    @property
    def source(self) -> str | None:
        """The picture's path or URL."""
        ...


def placed(result: Any, place: PartPlace) -> Any:
    """A result of a part as one of the picture; what has no coordinates stays as it is."""
    moved = _moved(result, place)
    if isinstance(moved, Result):
        moved = copy.copy(result) if moved is result else moved
        object.__setattr__(moved, "index", place.index)
        put_source(moved, place.source)
        if result.seconds is not None:
            put_seconds(moved, result.seconds)
    return moved


@singledispatch
def _moved(result: Any, place: PartPlace) -> Any:
    return result


@_moved.register
def _(result: Detections, place: PartPlace) -> Detections:
    return Detections(result.xyxy + _offset(place, 4), result.scores, result.labels.tolist(), result.ids)


@_moved.register
def _(result: Keypoints, place: PartPlace) -> Keypoints:
    return Keypoints(result.xy + _offset(place), result.scores, result.labels, result.descriptors)


@_moved.register
def _(result: Poses, place: PartPlace) -> Poses:
    xy, boxes = result.xy + _offset(place), result.boxes + _offset(place, 4)
    return Poses(xy, result.scores, boxes, result.labels, result.edges, box_scores=result.box_scores)


@_moved.register
def _(result: Masks, place: PartPlace) -> Masks:
    runs = [rle.runs(_on_image(result.mask(i), place, False)) for i in range(len(result))]
    boxes = result.boxes + np.where(result.areas > 0, 1, 0)[:, None] * _offset(place, 4).astype(np.int64)
    rest = {"boxes": boxes, "stability": result.stability, "objects": result.objects, "labels": result.labels}
    if result.pred_boxes is not None:
        rest["pred_boxes"] = result.pred_boxes + _offset(place, 4)
    return Masks.from_runs(runs, place.size, result.scores, **rest)


@_moved.register
def _(result: Segments, place: PartPlace) -> Segments:
    labels = result.labels.tolist()
    if result.segmentation is None:
        masks = np.zeros((len(result), *place.size), dtype=bool)
        for i in range(len(result)):
            masks[i] = _on_image(result.mask(i), place, False)
        return Segments.from_masks(masks, labels, result.scores, result.ids)
    nothing = min(-1, *(result.values - 1).tolist()) if len(result) else -1
    spread = _on_image(result.segmentation.astype(np.int64), place, nothing)
    return Segments(spread, result.values, labels, result.scores, result.ids)


def _offset(place: PartPlace, numbers: int = 2) -> NDArray[np.float32]:
    return np.array(place.box[:2] * (numbers // 2), dtype=np.float32)


def _on_image(part: NDArray[Any], place: PartPlace, nothing: Any) -> NDArray[Any]:
    """`(H, W)`: a map of the part within one of the picture, which has nothing elsewhere."""
    left, top, right, bottom = place.box
    whole = np.full(place.size, nothing, dtype=part.dtype)
    whole[top:bottom, left:right] = part
    return whole
