"""Masks in run-length encoding, and rows that results are made of."""

from __future__ import annotations

import functools
import json
import re

import numpy as np

from sensorium.results import Detections, Masks, Segments, rle
from tests.fuzzing.target import NUMBERS, Target, as_json, json_in, picked
from tests.results.test_columns import MAKERS
from tests.results.test_hostile_rows import NAMES, row_of

_HEX = re.compile("([0-9a-f]{2})*")

MASK = np.random.default_rng(0).random((9, 7)) > 0.5


def coco_string(data: bytes) -> None:
    """Counts of a mask, after its height and width."""
    height, width = data[:1], data[1:2]
    size = [int.from_bytes(height, "little"), int.from_bytes(width, "little")]
    mask = rle.decode({"size": size, "counts": data[2:]})
    again = rle.encode(mask)
    if not np.array_equal(rle.decode(again), mask):
        raise AssertionError(f"{again} is not {mask}")


def mask_json(data: bytes) -> None:
    value = json_in(data)
    if isinstance(value, dict):
        rle.decode(value)


@functools.cache
def kinds() -> list[type]:
    return [type(MAKERS[name]()) for name in NAMES]


def row(data: bytes) -> None:
    """A row, after a byte that says of which kind of result; what is made of it can be read."""
    kind, rest = picked(data, kinds())
    value = json_in(rest)
    if not isinstance(value, dict):
        return
    result = kind.from_row({name: _bytes_of(entry) for name, entry in value.items()})
    result.to_dict()
    result.lines()
    result.records()


def _bytes_of(entry):
    """The bytes that JSON holds as digits."""
    if not isinstance(entry, dict) or entry.keys() != {"hex"} or not isinstance(entry["hex"], str):
        return entry
    return bytes.fromhex(entry["hex"]) if _HEX.fullmatch(entry["hex"]) else entry


def rows():
    made = [row_of(MAKERS[name]()) for name in NAMES]
    told = [{k: {"hex": v.hex()} if isinstance(v, bytes) else v for k, v in row.items()} for row in made]
    return [as_json(row, i) for i, row in enumerate(told)]


def masks():
    whole = {"size": [9, 7], "counts": rle.runs(MASK).tolist()}
    return [json.dumps(rle.encode(MASK)).encode(), json.dumps(whole).encode(), b'{"size": [0, 7], "counts": []}']


def strings():
    far = rle.compress(np.array([0, 9 * 7, 0, 0]))
    return [b"\x09\x07" + rle.encode(MASK)["counts"].encode(), b"\x09\x07" + far.encode(), b"\0\0"]


def annotations(data: bytes) -> None:
    """COCO's annotations of a picture of 9 by 7 px; what is made of them can be written again."""
    value = json_in(data)
    if not isinstance(value, list):
        return
    for kind in (Masks, Segments, Detections):
        result = kind.from_coco(value, size=(9, 7))
        result.to_coco()
        result.to_label_studio("")


def annotated():
    masks = Masks(np.stack([MASK, ~MASK]), [0.5, 0.25])
    told = {"bbox": [1, 2.5, 3, 4], "category_id": 7, "score": 0.5, "segmentation": [[0, 0, 5, 0, 5, 5]]}
    return [json.dumps(rows).encode() for rows in (masks.to_coco(), masks.to_coco(shapes="polygons"), [told], [])]


REFUSALS = (ValueError,)

TARGETS = {
    "rle-strings": Target(coco_string, strings, REFUSALS, words=(b"oooooooooooO", b"PPPPPPPPPPPP0")),
    "rle-json": Target(mask_json, masks, REFUSALS, words=NUMBERS, json_from=0),
    "coco-annotations": Target(annotations, annotated, REFUSALS, words=NUMBERS, json_from=0),
    "result-rows": Target(row, rows, REFUSALS, words=NUMBERS, json_from=1),
}
