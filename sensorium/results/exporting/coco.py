"""COCO's annotations of one picture, written and read (cocodataset.org, "Data format": object detection)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results import rle
from sensorium.results.exporting.categories import Categories, Given
from sensorium.results.exporting.filling import filled
from sensorium.results.exporting.found_objects import FoundObjects, Size, chosen_shapes, chosen_tolerance
from sensorium.results.exporting.polygons import outlines, rings
from sensorium.results.run_boxes import box_of

SHAPES = ("rle", "polygons")
"""The forms that a mask may have."""

_FAR = 2.0**62  # no number that is read lies further from 0


def as_annotations(
    found: FoundObjects,
    categories: Categories,
    *,
    image_id: int,
    first_id: int,
    shapes: str | None,
    tolerance_px: float | None,
) -> list[dict[str, Any]]:
    """A dict for each object; see `ObjectRows.to_coco`."""
    shapes = chosen_shapes(found, shapes, SHAPES)
    tolerance = chosen_tolerance(shapes, tolerance_px, 0.0)
    if not np.isfinite(found.xyxy).all():
        raise ValueError("a box is not finite, which no file holds; leave it out: result[np.isfinite(…)]")
    corner, sides = found.xyxy[:, :2], (found.xyxy[:, 2:] - found.xyxy[:, :2]).clip(min=0)
    areas = _areas(found, sides)
    rows: list[dict[str, Any]] = []
    for i, number in enumerate(categories.numbers(found)):
        row: dict[str, Any] = {"id": first_id + len(rows), "image_id": image_id, "category_id": number}
        row |= {"bbox": [*corner[i].tolist(), *sides[i].tolist()], "area": areas[i], "iscrowd": 0}
        row["segmentation"] = _segmentation(found, i, shapes, tolerance)
        if shapes == "polygons" and not row["segmentation"]:
            continue  # a mask without px has no outline
        if found.scores is not None:
            row["score"] = float(found.scores[i])
        rows.append(row)
    return rows


def _areas(found: FoundObjects, sides: NDArray[np.float64]) -> list[Any]:
    if found.runs is None:
        return list((sides[:, 0] * sides[:, 1]).tolist())
    return [int(lengths[1::2].sum()) for lengths in found.runs]


def _segmentation(found: FoundObjects, i: int, shapes: str, tolerance_px: float) -> Any:
    if shapes == "boxes":
        return []
    assert found.runs is not None
    assert found.size is not None
    if shapes == "rle":
        return {"size": list(found.size), "counts": rle.compress(found.runs[i])}
    polygons = outlines(found.runs[i], found.size, tolerance_px=tolerance_px)
    return [ring.ravel().tolist() for ring in rings(polygons)]


def read_boxes(rows: Iterable[Mapping[str, Any]], categories: Given | None, size: Size | None) -> FoundObjects:
    """The boxes of one picture's annotations.

    Raises:
        ValueError: an annotation has no box, or is not one; or they are of several pictures.
    """
    rows = _of_one_image(rows)
    xyxy = np.array([_box(row) for row in rows], np.float64).reshape(-1, 4)
    xyxy[:, 2:] += xyxy[:, :2]
    names, ids = _classes(rows, categories)
    return FoundObjects(xyxy, names, ids, _scores(rows, whole=True), size)


def read_masks(
    rows: Iterable[Mapping[str, Any]], categories: Given | None, size: Size | None, *, max_pixels: int = 2**32
) -> FoundObjects:
    """The masks of one picture's annotations.

    Args:
        rows: the annotations; masks are RLE, compressed or not, or polygons.
        categories: what the classes are called; None for their numbers as text.
        size: (height, width) of the picture, px; None where masks in RLE tell it.
        max_pixels: of all masks, one bit each.

    Raises:
        ValueError: an annotation has no mask, or not one of this size; the size is not known; or they are of several
            pictures.
    """
    rows = _of_one_image(rows)
    held = [row["segmentation"] for row in rows if isinstance(row.get("segmentation"), Mapping)]
    try:
        sizes = {rle.checked_size(mask.get("size")) for mask in held} | ({rle.checked_size(size)} if size else set())
        if len(sizes) == 1:
            height, width = rle.checked_size(next(iter(sizes)), masks=max(1, len(rows)), max_pixels=max_pixels)
    except TypeError as error:
        raise ValueError("the size of a mask, in RLE or given, is (height, width), two whole numbers") from error
    if len(sizes) != 1:
        raise ValueError(
            f"masks are of one picture, whose size=(height, width) stands in RLE or is given; got {sorted(sizes)}"
        )
    runs = [_runs(row, (height, width)) for row in rows]
    xyxy = np.array([box_of(lengths, (height, width)) for lengths in runs], np.float64).reshape(-1, 4)
    names, ids = _classes(rows, categories)
    return FoundObjects(xyxy, names, ids, _scores(rows, whole=False), (height, width), runs)


def _of_one_image(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if isinstance(rows, Mapping):
        raise ValueError(
            'the annotations of one picture are expected, a list of {"bbox": …, "category_id": …}, got a dict; of a '
            'whole file choose those with one "image_id"'
        )
    rows = list(rows)
    for row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(f'an annotation is {{"bbox": …, "category_id": …, …}}, got {row!r:.200}')
    others = [row for row in rows if row.get("image_id") != rows[0].get("image_id")]
    if others:
        told = f"{rows[0].get('image_id')!r:.40} and {others[0].get('image_id')!r:.40}"
        raise ValueError(f"the annotations of one picture are expected, got image_id {told}; choose one")
    return rows


def _classes(rows: list[Mapping[str, Any]], categories: Given | None) -> tuple[list[str], NDArray[np.int64]]:
    numbers = [row.get("category_id") for row in rows]
    for number in numbers:
        if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or not abs(int(number)) < _FAR:
            raise ValueError(f'an annotation has its class as a whole number, "category_id", got {number!r:.40}')
    ids = np.array(numbers, np.int64).reshape(-1)
    return Categories(categories).names(ids.tolist()), ids


def _scores(rows: list[Mapping[str, Any]], *, whole: bool) -> NDArray[np.float32] | None:
    """Their scores, 1 where there is none; None where none has any, unless results of this kind need them."""
    if not whole and not any("score" in row for row in rows):
        return None
    scores = [_numbers([row.get("score", 1.0)]) for row in rows]
    if not all(scores):
        raise ValueError(f"an annotation's score is a number, got {rows[scores.index([])].get('score')!r:.40}")
    return np.array(scores, np.float32).reshape(-1)


def _box(row: Mapping[str, Any]) -> list[float]:
    sides = _numbers(row.get("bbox"))
    if len(sides) != 4:
        raise ValueError(f'an annotation has a box, "bbox": [left, top, width, height], got {row.get("bbox")!r:.200}')
    return sides


def _numbers(values: Any) -> list[float]:
    """A list of numbers that any picture has; none where it holds anything else."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        return []
    return numbers if all(abs(number) < _FAR for number in numbers) else []


def _runs(row: Mapping[str, Any], size: Size) -> NDArray[np.int64]:
    mask = row.get("segmentation")
    if isinstance(mask, Mapping):
        return rle.runs_of(mask, size)
    if not isinstance(mask, (list, tuple)) or not mask:
        raise ValueError(f'an annotation has a mask, "segmentation": RLE or polygons, got {mask!r:.200}')
    return filled(mask, size)
