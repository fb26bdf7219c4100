"""Indexes whose writer signed them for good, and lied."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sensorium.cli.indexes.contents import read_facts
from sensorium.errors import IndexFileError
from sensorium.retrieval import Index, storage
from sensorium.retrieval.array_files import read_array
from sensorium.retrieval.passage_table import PassageTable


def vectors(count):
    return np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)


def signed_again(folder, change, arrays=None):
    """As whoever may write an index may sign it: with other entries or arrays, and digests that are right."""
    facts, paths = storage.read_folder(folder)
    del facts["digest"]
    files: dict[str, Any] = {key: (path.suffix, partial(_copy, path.read_bytes())) for key, path in paths.items()}
    for key, array in (arrays or {}).items():
        files[key] = (".npy", partial(_save, array))
    storage.write_folder(folder, {**facts, **change}, files, opened=None)


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dimension": 10**9}, "10 passages of 1000000000 dimensions"),
        ({"dimension": 0}, "'dimension', got 0"),
        ({"dimension": "8"}, "'dimension', got '8'"),
        ({"dimension": True}, "'dimension', got True"),
        ({"next_id": "x"}, "'next_id', got 'x'"),
        ({"next_id": 2**70}, "'next_id'"),
        ({"next_id": -1}, "'next_id', got -1"),
        ({"kind": 3}, "'kind', got 3"),
        ({"similarity": "near"}, "'similarity', got 'near'"),
        ({"encoder": {}}, "'encoder'"),
        ({"encoder": {"spec": [], "fingerprint": "x", "modality": "text"}}, "'encoder'"),
        ({"encoder": {"spec": {}, "fingerprint": "x", "modality": "smell"}}, "'encoder'"),
    ],
)
def test_entries_that_were_signed_again_are_checked(tmp_path, kind, change, said):
    Index.from_vectors(vectors(10), kind=kind).save(tmp_path / "i")
    signed_again(tmp_path / "i", change)
    for verify in (True, False):
        with pytest.raises(IndexFileError, match=said):
            Index.load(tmp_path / "i", verify=verify)


@pytest.mark.parametrize(
    "arrays",
    [
        {"alive": np.ones(11, bool)},
        {"alive": np.ones(10, np.int8)},
        {"vectors": np.zeros((9, 8), np.float32)},
        {"vectors": np.zeros((10, 9), np.float32)},
        {"vectors": np.zeros((10, 8), np.float64)},
        {"vectors": np.zeros(80, np.float32)},
        {"vectors": np.full((10, 8), np.nan, np.float32)},
    ],
)
def test_arrays_that_were_signed_again_are_checked(tmp_path, arrays):
    Index.from_vectors(vectors(10), kind="exact").save(tmp_path / "i")
    signed_again(tmp_path / "i", {}, arrays)
    with pytest.raises(IndexFileError, match="expected"):
        Index.load(tmp_path / "i")


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(4294967296, 4294967296)", "(-1,)", "(9,)", "(11,)"])
def test_an_array_is_as_long_as_its_header_says(tmp_path, shape):
    header = f"{{'descr': '|b1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(10))
    for mmap in (False, True):
        with pytest.raises(ValueError, match="and holds 10"):
            read_array(path, mmap=mmap)


@pytest.mark.parametrize(
    "header",
    ["{'descr': '<f4', 'shape': (1,", "{'descr': (('a', '<f4'),)}", "  [\n (", "('" + "(" * 5000, "{0x}", "{[]: 1}"],
)
def test_a_header_that_python_cannot_read_is_no_array(tmp_path, header):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(ValueError, match=r"(?i)header"):
        read_array(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns("id"),
        lambda table: table.set_column(0, "id", pa.array([0.5] * 10)),
        lambda table: table.drop_columns("text"),
        lambda table: table.append_column("id", table["id"]),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_columns_that_passages_do_not_have_are_told_wherever_they_are_looked_at(tmp_path, change, verify):
    Index.from_vectors(vectors(10)).save(tmp_path / "i")
    _, paths = storage.read_folder(tmp_path / "i")
    table = change(pa.ipc.open_file(paths["passages"].read_bytes()).read_all())
    facts, _ = storage.read_folder(tmp_path / "i")
    files = {key: (path.suffix, partial(_copy, path.read_bytes())) for key, path in paths.items()}
    files["passages"] = (".arrow", PassageTable(table).write)
    storage.write_folder(tmp_path / "i", {name: facts[name] for name in facts if name != "digest"}, files)
    for read in (Index.load, read_facts):
        with pytest.raises(IndexFileError, match="columns of passages"):
            read(tmp_path / "i", verify=verify)


@pytest.mark.parametrize("lacking", ["bytes", "sha256", "format"])
def test_an_entry_that_is_lacking_is_no_index(tmp_path, lacking):
    Index.from_vectors(vectors(10)).save(tmp_path / "i")
    path = tmp_path / "i" / "index.json"
    content = json.loads(path.read_text())
    del content["digest"]
    del (content if lacking == "format" else content["files"]["alive"])[lacking]
    path.write_text(json.dumps({**content, "digest": storage._digest_of(content)}))
    with pytest.raises(IndexFileError, match="not as it was written"):
        Index.load(tmp_path / "i")


def _copy(content, to):
    to.write_bytes(content)


def _save(array, to):
    with to.open("wb") as file:
        np.save(file, array)
