"""The files of an index, with digests that are right: whoever writes an index writes them, too."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from sensorium.cli.indexes.contents import read_facts
from sensorium.retrieval import Index
from sensorium.retrieval.array_files import read_array
from sensorium.retrieval.lexical.bm25 import FILES, LexicalIndex
from sensorium.retrieval.state import IndexState
from sensorium.retrieval.storage import NAME, _digest_of
from sensorium.tasks.searching.search_task import SearchOptions
from tests.fuzzing.target import NUMBERS, Target, json_in, on_disk, picked, scratch

CPU = torch.device("cpu")
PASSAGES = [
    {"text": "a cat sleeps", "title": "cats", "year": 1990, "tags": ["a", "b"]},
    {"text": "two dogs run, and a cat", "title": "dogs", "year": 1991, "tags": []},
    {"text": "é ☃ 😀", "title": "", "year": None, "tags": None},
]
QUERY = np.ones((1, 4), np.float32)


@functools.cache
def index_folder() -> Path:
    """A small index, of which files are written anew."""
    folder = scratch() / "index"
    vectors = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    Index.from_vectors(vectors, passages=PASSAGES, lexical=True, device="cpu").save(folder)
    shutil.copytree(folder, scratch() / "index-as-built")
    return folder


@functools.cache
def as_built() -> dict[str, bytes]:
    index_folder()
    return {path.name: path.read_bytes() for path in (scratch() / "index-as-built").iterdir()}


def listed() -> dict:
    return json.loads(as_built()[NAME])


def sign(content: dict) -> bytes:
    """`index.json` with its own digest."""
    content = {name: value for name, value in content.items() if name != "digest"}
    return json.dumps({**content, "digest": _digest_of(content)}).encode()


def read(folder: Path) -> None:
    """Opens an index, and searches in it."""
    read_facts(folder, verify=True)
    _, state = IndexState.read(folder, verify=True, device=CPU)
    options = SearchOptions(top_k=2, mode="hybrid" if state.words else "dense")
    if state.table.table.num_rows and state.searcher.vectors.shape[1] == 4:
        state.search(QUERY, ["a cat"], options, "dot")
    state.table.take(np.arange(len(state.table)))


def manifest(data: bytes) -> None:
    folder, content = index_folder(), json_in(data)
    try:
        signed = sign(content) if isinstance(content, dict) else data
    except (ValueError, RecursionError):
        signed = data
    (folder / NAME).write_bytes(signed)
    read(folder)


def file_of_index(key: str, data: bytes) -> None:
    """One of the files, and an `index.json` with its digest."""
    folder, content = index_folder(), listed()
    entry = content["files"][key]
    (folder / entry["name"]).write_bytes(data)
    entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / NAME).write_bytes(sign(content))
    try:
        read(folder)
    finally:
        (folder / entry["name"]).write_bytes(as_built()[entry["name"]])


def file_content(key: str) -> bytes:
    index_folder()
    return as_built()[listed()["files"][key]["name"]]


def array(data: bytes) -> None:
    path = on_disk("array.npy", data)
    mapped = read_array(path, mmap=True)
    if not np.array_equal(read_array(path), mapped, equal_nan=mapped.dtype.kind in "fc"):
        raise AssertionError(f"two arrays of {path}")


def arrays():
    for values in (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True]), np.zeros((0, 4)), np.int64(3)):
        with io.BytesIO() as file:
            np.save(file, values)
            yield file.getvalue()
    with io.BytesIO() as file:
        np.lib.format.write_array(file, np.asfortranarray(np.eye(2)), version=(2, 0))
        yield file.getvalue()


def words(data: bytes) -> None:
    """The files of a lexical index, of which one is this."""
    key, content = picked(data, list(FILES))
    index_folder()
    paths = {name: on_disk(f"words/{name}", content if name == key else file_content(name)) for name in FILES}
    LexicalIndex.from_files(paths).search(["a cat"], 2)


WORDS = (*NUMBERS, b'"files"', b'"bytes"', b'"sha256"', b'"dimension"', b'"kind"', b'"hnsw"', b'"cosine"', b'"encoder"')
HEADER = (b"'descr': '<f4'", b"'fortran_order': True", b"'shape': (2, 3)", b"|O", b"<U9", b"(", b"[", b"-1", b"0x")

TARGETS = {
    "index-manifest": Target(manifest, lambda: [sign(index_folder() and listed())], words=WORDS, json_from=0),
    "index-arrays": Target(array, arrays, (ValueError, OSError), words=HEADER),
    "index-passages": Target(
        functools.partial(file_of_index, "passages"), lambda: [file_content("passages")]
    ),
    "index-vectors": Target(
        functools.partial(file_of_index, "vectors"), lambda: [file_content("vectors")], words=HEADER
    ),
    "index-words": Target(
        words, lambda: [bytes([i]) + file_content(key) for i, key in enumerate(FILES)], words=HEADER, json_from=1
    ),
}  # fmt: skip
