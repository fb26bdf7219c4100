"""Encoding passages chunk by chunk; what is done can be kept on disk, so that an interrupted build goes on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.encoders import CHUNK, Encoder
from sensorium.retrieval.rows import Item, Row, read_rows


@dataclass(frozen=True)
class EncodedPassages:
    """Passages as rows, and their `(N, D)` float32 vectors."""

    rows: list[Row]
    vectors: NDArray[np.float32]


def encode_passages(
    passages: Iterable[Any],
    encoder: Encoder,
    *,
    on_error: Literal["raise", "skip"],
    resume: str | os.PathLike[str] | None,
    progress: bool,
) -> EncodedPassages:
    """Encodes passages.

    They are encoded, and kept, `CHUNK` at a time, in batches that depend on nothing else, so that they have the same
    vectors whether the build ran through or was interrupted.

    Args:
        passages: as `Index.build` takes them.
        encoder: what encodes them.
        on_error: "skip" leaves out those that cannot be encoded, and warns with their number and the first reason.
        resume: a folder that keeps the vectors of each chunk; None to keep nothing.
        progress: shows a progress bar on standard error.

    Raises:
        InputError: one that cannot be encoded, or none at all.
        OptionError: an argument with a value that it cannot have.
    """
    if on_error not in ("raise", "skip"):
        raise OptionError(f'on_error is "raise" or "skip", got {on_error!r}')
    kept = None if resume is None else KeptChunks(Path(resume), encoder.fingerprint)
    rows: list[Row] = []
    vectors: list[NDArray[np.float32]] = []
    failures: list[InputError] = []
    items = read_rows(passages, encoder.modality, skip=on_error == "skip")
    with _bar(passages, wanted=progress) as bar:
        while chunk := list(islice(items, CHUNK)):
            good = [each for each in chunk if not isinstance(each, InputError)]
            failures += [each for each in chunk if isinstance(each, InputError)]
            found = kept.get(good) if kept else None
            if found is None:
                good, found = _encode(good, encoder, failures, skip=on_error == "skip")
                if kept and len(good) == len(chunk):
                    kept.put(good, found)
            rows += [one.row for one in good]
            vectors.append(found)
            bar.update(len(chunk))
    if failures:
        count = len(failures) + len(rows)
        warnings.warn(f"{len(failures):,} of {count:,} passages were left out; the first: {failures[0]}", stacklevel=3)
    if not rows:
        raise InputError("expected passages to search, got none", code="no-documents")
    return EncodedPassages(rows, np.concatenate(vectors))


def _encode(
    items: list[Item], encoder: Encoder, failures: list[InputError], *, skip: bool
) -> tuple[list[Item], NDArray[np.float32]]:
    """Those of the items that can be encoded, and their vectors."""
    vectors, errors = encoder.encode([item.read for item in items], on_error="return")
    bad = set()
    for error in errors:
        assert error.index is not None
        bad.add(error.index)
        error.index = items[error.index].index
    if errors and not skip:
        raise errors[0]
    failures += errors
    good = [i for i in range(len(items)) if i not in bad]
    return [items[i] for i in good], vectors[good]


class KeptChunks:
    """Vectors of chunks in a folder, each in a file that is named by what was encoded and by its content.

    Args:
        folder: made where it does not exist; may be shared by builds.
        fingerprint: the encoder's.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        if folder.exists() and not folder.is_dir():
            raise OptionError(f"resume is a folder, got the file {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._fingerprint = folder, fingerprint

    def get(self, items: Sequence[Item]) -> NDArray[np.float32] | None:
        """The vectors of a chunk, if they are there as they were written."""
        for path in self._folder.glob(f"{self._key(items)}-*.npy"):
            content = path.read_bytes()
            if path.stem.partition("-")[2] == hashlib.sha256(content).hexdigest()[:32]:
                vectors: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
                return vectors
        return None

    def put(self, items: Sequence[Item], vectors: NDArray[np.float32]) -> None:
        """Keeps the vectors of a chunk, wholly or not at all."""
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        content = buffer.getvalue()
        path = self._folder / f"{self._key(items)}-{hashlib.sha256(content).hexdigest()[:32]}.npy"
        part = path.with_suffix(".part")
        part.write_bytes(content)
        part.replace(path)

    def _key(self, items: Sequence[Item]) -> str:
        digest = hashlib.sha256(self._fingerprint.encode())
        for item in items:
            digest.update(_identity(item.read))
        return digest.hexdigest()[:32]


def _identity(read: Any) -> bytes:
    """What tells an input from others: a text itself, a file by its path, size and time of change."""
    if isinstance(read, (str, tuple)):
        return json.dumps(read).encode() + b"\n"
    (item,) = read.values()
    if isinstance(item, (bytes, bytearray)):
        return hashlib.sha256(item).digest()
    if isinstance(item, (str, os.PathLike)) and Path(item).is_file():
        status = Path(item).stat()
        return json.dumps([os.fspath(item), status.st_size, status.st_mtime_ns], default=os.fsdecode).encode() + b"\n"
    raise OptionError(
        f"resume= keeps texts and files apart by what they are, which it cannot for {type(item).__name__}; give paths, "
        "or build without it"
    )


def _bar(passages: Iterable[Any], *, wanted: bool) -> Any:
    from tqdm.auto import tqdm

    total = len(passages) if isinstance(passages, Sized) else None
    return tqdm(total=total, desc="encoding", unit="passage", disable=not wanted)
