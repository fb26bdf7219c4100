"""Bombs of what Sensorium itself has stored: masks and indexes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.bomb import FINE, MIB, Bomb
from tests.hostile.tables import bomb

# masks


def rle_bombs() -> Iterator[Bomb]:
    ends = ("ValueError",)
    for size in ([2**31, 2**31], [10**9, 1], [2**64, 1], [-1, 4], [16_385, 16_385], [10**30, 0]):
        for counts in ([], [0], [2**62, 2**62, 2**62, 2**62], "0" * 109, "~" * 100):
            fine = (*ends, FINE) if 0 in size else ends
            yield bomb(
                f"mask of {size}, {str(counts)[:20]}",
                "mask",
                ".json",
                json.dumps({"size": size, "counts": counts}).encode(),
                fine,
            )
    for name, counts in {
        "100,000 runs of none": [0] * 100_000,
        "a sum that wraps": [2**63 - 1, 2**63 - 1, 18],
        "numbers of 30 digits": [10**30],
        "fractions": [0.5, 15.5],
        "infinity": [1e308 * 10],
        "less than none": [-16, 32],
        "texts": ["16"],
        "lists": [[16]],
        "objects": {"16": 1},
        "nothing": None,
        "a megabyte of a text": "1" * 1_000_000,
        "what is no count": "\x7f\x80",
        "a number without end": "P" * 1_000_000,
    }.items():
        data = json.dumps({"size": [4, 4], "counts": counts}).encode()
        yield bomb(f"mask, {name}", "mask", ".json", data, ends)
    for name, content in {
        "a list": [1, 2],
        "a number": 3,
        "no size": {"counts": []},
        "a size of three": {"size": [1, 2, 3], "counts": []},
        "a size of texts": {"size": ["4", "4"], "counts": []},
        "nested": {"size": [[4], [4]], "counts": [16]},
    }.items():
        yield bomb(f"mask as {name}", "mask", ".json", json.dumps(content).encode(), ends)


# indexes


def _index(folder: Path, change: dict[str, Any] | None = None, **arrays: Any) -> None:
    from sensorium.retrieval import Index
    from tests.retrieval.test_contents import signed_again, vectors

    Index.from_vectors(vectors(10)).save(folder)
    signed_again(folder, change or {}, arrays)


def _written(folder: Path, content: bytes | Callable[[], bytes]) -> None:
    _index(folder)
    (folder / "index.json").write_bytes(content() if callable(content) else content)


def _with_array(folder: Path, key: str, head: str, data: bytes = b"") -> None:
    """An array whose file tells of another shape, signed again."""
    from sensorium.retrieval import Index, storage
    from tests.retrieval.test_contents import vectors

    Index.from_vectors(vectors(10)).save(folder)
    facts, paths = storage.read_folder(folder)
    del facts["digest"]
    text = head.encode().ljust(118) + b"\n"
    files: dict[str, Any] = {name: (path.suffix, partial(_put, path.read_bytes())) for name, path in paths.items()}
    files[key] = (".npy", partial(_put, b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data))
    storage.write_folder(folder, facts, files, opened=None)


def _put(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def index_bombs() -> Iterator[Bomb]:
    ends = ("IndexFileError",)
    for entry, value in {"dimension": 10**9, "next_id": 2**70, "similarity": "near", "encoder": {"spec": {}},
                         "kind": "hnsw", "format": 2**70, "passages": 10**12}.items():  # fmt: skip
        fine = (*ends, FINE) if entry in ("passages", "format") else ends
        yield Bomb(f"index, {entry} {value}", "index", lambda f, e=entry, v=value: _index(f, {e: v}), fine)
    for name, array in {
        "alive of ones": np.ones(11, bool),
        "alive of numbers": np.ones(10),
        "alive of objects": np.zeros((10, 0), bool),
    }.items():
        yield Bomb(f"index, {name}", "index", lambda f, a=array: _index(f, alive=a), ends)
    for key in ("alive", "vectors", "ids"):
        for head in (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (10, 8), }",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (10, 8), }",
            "[" * 100,
            "{'descr': '|V999999999', 'fortran_order': False, 'shape': (10,), }",
        ):
            yield Bomb(
                f"index, {key} as {head[:60]}",
                "index",
                lambda f, k=key, h=head: _with_array(f, k, h, bytes(320)),
                (*ends, FINE),
            )
    for name, content in {
        "objects in objects": b'{"a":' * 200_000,
        "17 MB": lambda: b" " * (17 * MIB),
        "a list": b"[]",
        "nothing": b"",
        "zeros": bytes(MIB),
        "a number of a megabyte": b'{"format": ' + b"9" * MIB + b"}",
        "another code": '{"format": 1}'.encode("utf-16"),
        "files elsewhere": json.dumps(
            {"format": 1, "files": {"x": {"name": "../../../etc/passwd", "bytes": 1, "sha256": ""}}}
        ).encode(),
    }.items():
        yield Bomb(f"index.json of {name}", "index", lambda f, c=content: _written(f, c), ends)


def all_bombs() -> Iterator[Bomb]:
    yield from rle_bombs()
    yield from index_bombs()
