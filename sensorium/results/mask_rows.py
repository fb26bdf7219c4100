"""Results whose objects have masks: their outlines, and what exports are made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results import rle
from sensorium.results.exporting.found_objects import FoundObjects
from sensorium.results.exporting.polygons import Polygon, outlines
from sensorium.results.object_rows import ObjectRows
from sensorium.results.run_boxes import box_of


class MaskRows(ObjectRows):
    """Objects with masks of one size, (height, width) px."""

    __slots__ = ()

    size: tuple[int, int]

    @abstractmethod
    def _mask_runs(self) -> list[NDArray[np.int64]]:
        """The runs of each mask, as `results.rle.runs` gives them."""

    @abstractmethod
    def _named(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32] | None]:
        """Each object's class by name and by number, and its score."""

    def _found(self) -> FoundObjects:
        labels, ids, scores = self._named()
        runs = self._mask_runs()
        boxes = np.array([box_of(lengths, self.size) for lengths in runs], np.float64).reshape(-1, 4)
        return FoundObjects(boxes, labels, ids, scores, self.size, runs)

    def polygons(self, *, tolerance_px: float = 0.0) -> list[list[Polygon]]:
        """The outline of each mask along the edges of its px: a polygon, with its holes, for each part of it.

        Args:
            tolerance_px: how far a polygon may lie from the edge; 0 for exact ones.

        Raises:
            ValueError: a tolerance below 0, or not finite.
        """
        if not 0 <= tolerance_px < float("inf"):
            raise ValueError(f"tolerance_px is a number of px from 0, got {tolerance_px!r}")
        return [outlines(lengths, self.size, tolerance_px=tolerance_px) for lengths in self._mask_runs()]


def read_runs(masks: Any) -> tuple[set[tuple[int, int]], list[NDArray[np.int64]]]:
    """The sizes and the runs of `(N, H, W)` masks, or of `(H, W)` arrays and RLE dicts.

    Raises:
        ValueError: one is neither.
    """
    if isinstance(masks, np.ndarray) and masks.ndim != 3:
        raise ValueError(f"masks are (N, H, W), got shape {masks.shape}")
    sizes = {(masks.shape[1], masks.shape[2])} if isinstance(masks, np.ndarray) else set()
    runs = []
    for item in masks:
        mask = rle.decode(item) if isinstance(item, Mapping) else np.asarray(item)
        if mask.ndim != 2:
            raise ValueError(f"a mask is an (H, W) array, got shape {mask.shape}")
        sizes.add((mask.shape[0], mask.shape[1]))
        runs.append(rle.runs(mask))
    return sizes, runs
