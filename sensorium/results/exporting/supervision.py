"""supervision's `Detections`, for its annotators, trackers and zones."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results import rle
from sensorium.results.exporting.found_objects import FoundObjects


def detections(found: FoundObjects, more: Mapping[str, NDArray[Any]]) -> Any:
    """The objects as a `supervision.Detections`; see `ObjectRows.to_supervision`.

    Args:
        found: the objects.
        more: `(N, …)` arrays that go into its `data` beside `class_name`.

    Raises:
        ImportError: supervision is not installed.
    """
    try:
        supervision = importlib.import_module("supervision")
    except ImportError as error:
        raise ImportError(
            "to_supervision needs supervision, which is not installed: pip install 'sensorium[supervision]'"
        ) from error
    masks = None
    if found.runs is not None:
        assert found.size is not None
        masks = np.zeros((len(found.runs), *found.size), bool)
        for mask, lengths in zip(masks, found.runs, strict=True):
            mask[:] = rle.fill(lengths, found.size)
    return supervision.Detections(
        xyxy=found.xyxy.astype(np.float32),
        mask=masks,
        confidence=found.scores,
        class_id=found.ids.astype(int),
        data={"class_name": np.array(found.labels, dtype=np.str_), **more},
    )
