"""Vectors of passages kept on disk, by what the passages say, so that none is encoded twice."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.checkpoints.writing import alone_in
from sensorium.errors import OptionError
from sensorium.retrieval.array_files import read_array

BLOCK = 16 * 2**20


@dataclass
class KeptVectors:
    """Vectors in a folder: in files that are named by the encoder, and by their own content.

    A file that does not agree with its name is not read. Builds may share the folder, also at the same time. What
    builds that were killed have left is removed by the next: files that were not finished, and those that say nothing
    that others do not.

    Attributes:
        folder: made where it does not exist.
        fingerprint: the encoder's.
    """

    folder: Path
    fingerprint: str
    _found: dict[bytes, tuple[NDArray[Any], int]] = field(default_factory=dict, init=False)
    _new: list[tuple[bytes, bool, NDArray[np.float32]]] = field(default_factory=list, init=False)
    _pieces: list[tuple[Path, NDArray[Any]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise OptionError(f"resume is a folder, got the file {self.folder}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prefix = hashlib.sha256(self.fingerprint.encode()).hexdigest()[:32]
        with alone_in(self.folder):
            self._sweep()
        for path in sorted(self.folder.glob(f"{self._prefix}-*.npy"), key=_size, reverse=True):
            if (rows := _read(path)) is not None:
                found = {key: (rows, i) for i, key in enumerate(map(bytes, rows["key"]))}
                if found.keys() <= self._found.keys():  # a piece of a larger one
                    path.unlink(missing_ok=True)
                self._found = {**found, **self._found}

    def get(self, key: bytes) -> tuple[NDArray[np.float32], bool] | None:
        """The vector that was put under a key, and whether its passage was cut; None where there is none."""
        found = self._found.get(key)
        return None if found is None else (found[0]["vector"][found[1]], bool(found[0]["cut"][found[1]]))

    def put(self, key: bytes, vector: NDArray[np.float32], *, cut: bool) -> None:
        """Keeps the vector of a passage; on disk, once `write` is called."""
        self._new.append((key, cut, vector))

    def write(self) -> None:
        """Writes what was put since the last time, wholly or not at all."""
        if not self._new:
            return
        kind = [("key", "V16"), ("cut", "?"), ("vector", "<f4", (len(self._new[0][2]),))]
        rows = np.empty(len(self._new), kind)
        rows["key"] = [np.void(key) for key, _, _ in self._new]
        rows["cut"], rows["vector"] = [cut for _, cut, _ in self._new], [vector for _, _, vector in self._new]
        self._pieces.append((self._write(rows), rows))
        self._new = []

    def join(self) -> None:
        """Puts what was written since the last time into one file."""
        self.write()
        if len(self._pieces) > 1:
            whole = self._write(np.concatenate([rows for _, rows in self._pieces]))
            for path, _ in self._pieces:
                if path != whole:
                    path.unlink(missing_ok=True)
        self._pieces = []

    def _write(self, rows: NDArray[Any]) -> Path:
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        content = buffer.getvalue()
        path = self.folder / f"{self._prefix}-{hashlib.sha256(content).hexdigest()[:32]}.npy"
        part = path.with_suffix(".part")
        with alone_in(self.folder):
            self._sweep()
            part.write_bytes(content)
            part.replace(path)
        return path

    def _sweep(self) -> None:
        """Removes files that nobody finishes any more: whoever writes one is alone in the folder."""
        for path in self.folder.glob(f"{self._prefix}-*.part"):
            path.unlink(missing_ok=True)


def _size(path: Path) -> tuple[int, str]:
    with contextlib.suppress(OSError):  # another build has removed it
        return path.stat().st_size, path.name
    return 0, path.name


def key_of(read: Any) -> bytes:
    """What tells one input of an encoder from another: a text itself, a file by its path, size and time of change.

    Raises:
        OptionError: something that has no content to be recognised by.
    """
    return hashlib.sha256(_identity(read)).digest()[:16]


def _read(path: Path) -> NDArray[Any] | None:
    """The rows of a file, mapped into memory; None if it is not as it was written, or gone."""
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        if path.stem.partition("-")[2] != digest.hexdigest()[:32]:
            return None
        rows = read_array(path, mmap=True)
    except (OSError, ValueError):
        return None
    return rows if rows.dtype.names == ("key", "cut", "vector") else None


def _identity(read: Any) -> bytes:
    if isinstance(read, (str, tuple)):
        return json.dumps(read).encode()
    (item,) = read.values()
    if isinstance(item, (bytes, bytearray)):
        return hashlib.sha256(item).digest()
    if isinstance(item, (str, os.PathLike)):
        status = Path(item).stat() if Path(item).is_file() else None  # none: it cannot be encoded, and is told then
        facts = None if status is None else [status.st_size, status.st_mtime_ns]
        return json.dumps([os.fspath(item), facts], default=os.fsdecode).encode()
    raise OptionError(
        f"resume= recognises texts and files by their content, which is impossible for {type(item).__name__}; give "
        "paths, or build without it"
    )
