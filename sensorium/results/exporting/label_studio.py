"""Label Studio's tasks: a picture with what was found on it, as predictions that people correct.

Places are percent of the picture (Label Studio, "Import pre-annotated data", "Label Studio JSON format of annotated
tasks"). A brush's mask is the picture row by row, four channels a px, in runs of bits (`@thi.ng/rle-pack`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results import rle
from sensorium.results.exporting.found_objects import FoundObjects, Size, chosen_shapes, chosen_tolerance
from sensorium.results.exporting.polygons import outlines, rings

SHAPES = ("polygons", "brush")
"""The forms that a mask may have."""

_KINDS = {"boxes": "rectanglelabels", "polygons": "polygonlabels", "brush": "brushlabels"}
_LENGTHS = (3, 4, 8, 16)  # bits of a run's length that the packed form may choose from
_CHANNELS = 4


def task(
    found: FoundObjects,
    image: str,
    *,
    size: Size | None,
    shapes: str | None,
    tolerance_px: float | None,
    from_name: str,
    to_name: str,
    model_version: str,
) -> dict[str, Any]:
    """The task; see `ObjectRows.to_label_studio`."""
    height, width = found.sized(size)
    shapes = chosen_shapes(found, shapes, SHAPES)
    tolerance = chosen_tolerance(shapes, tolerance_px, 1.0)
    kind, regions = _KINDS[shapes], []
    told = {"from_name": from_name, "to_name": to_name, "type": kind, "origin": "prediction", "image_rotation": 0}
    told |= {"original_width": width, "original_height": height}
    for i, label in enumerate(found.labels):
        score = {} if found.scores is None else {"score": float(found.scores[i])}
        for part, value in enumerate(_values(found, i, (height, width), shapes, tolerance)):
            regions.append({"id": f"{i}-{part}", **told, "value": {**value, kind: [label]}, **score})
    prediction: dict[str, Any] = {"model_version": model_version, "result": regions}
    if found.scores is not None and len(found.scores):
        prediction["score"] = float(found.scores.mean())
    return {"data": {to_name: image}, "predictions": [prediction]}


def _values(found: FoundObjects, i: int, size: Size, shapes: str, tolerance_px: float) -> list[dict[str, Any]]:
    """The regions of one object: a box within the picture, a brush, or a polygon for each of its parts."""
    whole = np.array(size[::-1], np.float64)
    if shapes == "boxes":
        first, last = 100 * (found.xyxy[i].reshape(2, 2) / whole).clip(0, 1)
        (x, y), (wide, high) = first.tolist(), (last - first).tolist()
        box = {"x": x, "y": y, "width": wide, "height": high, "rotation": 0}
        return [box] if wide > 0 and high > 0 else []
    assert found.runs is not None
    if shapes == "brush":
        lengths = found.runs[i]
        return [{"format": "rle", "rle": brush(rle.fill(lengths, size))}] if len(lengths) > 1 else []
    parts = rings(outlines(found.runs[i], size, tolerance_px=tolerance_px))
    return [{"points": (100 * part / whole).tolist(), "closed": True} for part in parts]


def brush(mask: NDArray[np.bool_]) -> list[int]:
    """A mask as the bytes of a packed picture, whose px of the mask are 255 in all channels.

    Args:
        mask: `(H, W)` bool, at most 2^30 px.

    Returns:
        Bytes as whole numbers: how many values there are, the sizes of what follows, then runs of one value each.

    Raises:
        ValueError: it has too many px.
    """
    flat = np.ascontiguousarray(mask).ravel()
    if len(flat) * _CHANNELS >= 2**32:
        raise ValueError(f"a brush holds a mask of less than 2^30 px, got {len(flat)}")
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(flat)), bool), flat[1:] != flat[:-1]]))
    lengths, values = np.diff(np.append(starts, len(flat))) * _CHANNELS, flat[starts]
    longest = 2 ** _LENGTHS[-1]
    pieces = -(-lengths // longest)
    values, left = np.repeat(values, pieces), np.repeat(lengths, pieces)
    place = np.arange(len(left)) - np.repeat(pieces.cumsum() - pieces, pieces)
    less = np.minimum(left - place * longest, longest) - 1
    head = [(len(flat) * _CHANNELS, 32), (8 - 1, 5), *((bits - 1, 4) for bits in _LENGTHS)]
    written = np.concatenate([*(_bits(np.array([number]), bits).ravel() for number, bits in head), _runs(less, values)])
    packed: list[int] = np.packbits(written).tolist()
    return packed


def _runs(less: NDArray[np.int64], values: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The bits of runs: 1 for a run, which length's size, the length less one, the value."""
    choice = np.searchsorted([2**bits for bits in _LENGTHS], less, side="right")
    size = np.array(_LENGTHS)[choice]
    long = _LENGTHS[-1]
    # all in one row of the longest form, whose unused bits before the length are left out
    rows = np.concatenate([_bits(4 + choice, 3), _bits(less, long), _bits(np.where(values, 255, 0), 8)], axis=1)
    kept = np.ones(rows.shape, bool)
    kept[:, 3 : 3 + long] = np.arange(long) >= long - size[:, None]
    return np.asarray(rows[kept])


def _bits(numbers: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """`(N, count)` the numbers' bits, highest first."""
    return ((numbers[:, None] >> np.arange(count - 1, -1, -1)) & 1).astype(np.uint8)
