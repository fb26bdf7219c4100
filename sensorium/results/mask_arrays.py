"""What is told of masks beside their px, in arrays that agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.run_boxes import box_of


def checked_arrays(
    runs: Sequence[NDArray[np.int64]],
    size: tuple[int, int],
    *,
    scores: Any,
    boxes: Any,
    stability: Any,
    objects: Any,
    labels: Any,
    pred_boxes: Any,
) -> dict[str, NDArray[Any] | None]:
    """The arrays of a result of masks, by name.

    Args:
        runs: of each mask, as `results.rle.runs` gives them.
        size: (height, width) of the picture, px.
        scores: `(N,)`.
        boxes: `(N, 4)`, or None for those around the masks.
        stability: `(N,)`, or None for ones.
        objects: `(N,)`, or None for 0 to N - 1.
        labels: N texts, or None.
        pred_boxes: `(N, 4)`, or None.

    Raises:
        ValueError: lengths differ.
    """
    count = len(runs)
    around = [_inner(box_of(lengths, size)) for lengths in runs] if boxes is None else boxes
    flat: dict[str, NDArray[Any] | None] = {
        "scores": np.array(scores, np.float32),
        "stability": np.array(np.ones(count) if stability is None else stability, np.float32),
        "objects": np.array(np.arange(count) if objects is None else objects, np.int64),
        "labels": None if labels is None else np.array(labels, np.str_),
        "areas": np.array([lengths[1::2].sum() for lengths in runs], np.int64),
    }
    four: dict[str, NDArray[Any] | None] = {
        "boxes": np.array(around, np.int64).reshape(-1, 4),
        "pred_boxes": None if pred_boxes is None else np.array(pred_boxes, np.float32).reshape(-1, 4),
    }
    for arrays, shape in ((flat, (count,)), (four, (count, 4))):
        if any(array.shape != shape for array in arrays.values() if array is not None):
            shapes = {name: array.shape for name, array in (flat | four).items() if array is not None}
            raise ValueError(
                f"{count} masks need as many scores, boxes, stability, objects and labels, got the shapes {shapes}"
            )
    return flat | four


def _inner(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """A box whose edges lie within the mask; zeros for none."""
    left, top, right, bottom = box
    return left, top, max(0, right - 1), max(0, bottom - 1)
