"""Encoding passages chunk by chunk; what is done can be kept on disk, so that an interrupted build goes on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.encoding.encoder import CHUNK, Encoder
from sensorium.retrieval.rows import IndexItem, Row, read_rows

OnError = Literal["raise", "skip"] | Callable[[InputError], Any]


@dataclass(frozen=True)
class EncodedPassages:
    """Passages as rows, and their `(N, D)` float32 vectors."""

    rows: list[Row]
    vectors: NDArray[np.float32]


def encode_passages(
    passages: Iterable[Any],
    encoder: Encoder,
    *,
    on_error: OnError,
    resume: str | os.PathLike[str] | None,
    progress: bool,
    texts: bool | None = None,
    taken: Callable[[Any], bool] = lambda _: False,
) -> EncodedPassages:
    """Encodes passages.

    They are encoded, and kept, `CHUNK` at a time, in batches that depend on nothing else, so that they have the same
    vectors whether the build ran through or was interrupted.

    Args:
        passages: as `Index.build` takes them.
        encoder: what encodes them.
        on_error: "raise" stops at the first that cannot be encoded; "skip" leaves them out and warns once, with their
            number and the first reason; a function is called with each error instead.
        resume: a folder that keeps the vectors of each chunk; None to keep nothing.
        progress: shows a progress bar on standard error.
        texts: as in `read_rows`.
        taken: as in `read_rows`.

    Raises:
        InputError: a passage that cannot be encoded, or no passages.
        OptionError: an argument with an invalid value.
    """
    if on_error not in ("raise", "skip") and not callable(on_error):
        raise OptionError(f'on_error is "raise", "skip" or a function that takes an InputError, got {on_error!r}')
    kept = None if resume is None else KeptChunks(Path(resume), encoder.fingerprint)
    rows: list[Row] = []
    vectors: list[NDArray[np.float32]] = []
    failures: list[InputError] = []
    items = read_rows(passages, encoder.modality, skip=on_error != "raise", texts=texts, taken=taken)
    with _bar(passages, wanted=progress) as bar:
        while chunk := list(islice(items, CHUNK)):
            good = [item for item in chunk if isinstance(item, IndexItem)]
            chunk_vectors, errors = _encode(good, encoder, kept)
            for error in [*(item for item in chunk if isinstance(item, InputError)), *errors]:
                if on_error == "raise":
                    raise error
                failures.append(error)
                if callable(on_error):
                    on_error(error)
            encoded = np.flatnonzero(np.isfinite(chunk_vectors).all(axis=1))
            rows += [good[i].row for i in encoded.tolist()]
            vectors.append(chunk_vectors[encoded])
            bar.update(len(chunk))
    if failures and on_error == "skip":
        count = len(failures) + len(rows)
        warnings.warn(f"{len(failures):,} of {count:,} passages were left out; the first: {failures[0]}", stacklevel=3)
    if not rows:
        raise InputError("expected passages to search, got none", code="no-documents")
    return EncodedPassages(rows, np.concatenate(vectors))


def _encode(
    items: list[IndexItem], encoder: Encoder, kept: KeptChunks | None
) -> tuple[NDArray[np.float32], list[InputError]]:
    """The vectors of a chunk, NaN for items that cannot be encoded, and the errors of those."""
    vectors = kept.get(items) if kept else None
    tried = list(range(len(items)))
    if vectors is None:
        vectors, errors = encoder.encode([item.read for item in items], on_error="return")
        if kept:
            kept.put(items, vectors)
    else:  # what could not be encoded is tried again, to tell why
        tried = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()
        errors = encoder.encode([items[i].read for i in tried], on_error="return")[1] if tried else []
    for error in errors:
        assert error.index is not None
        error.index = items[tried[error.index]].index
    explained = {error.index for error in errors}
    for i in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        if items[i].index not in explained:
            message = f'{encoder.name!r} gave a vector with NaN or infinity; try dtype="float32"'
            errors.append(InputError(message, code="not-finite", index=items[i].index))
    return vectors, errors


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

    def get(self, items: Sequence[IndexItem]) -> NDArray[np.float32] | None:
        """The vectors of a chunk, if they are there, as they were written."""
        for path in self._folder.glob(f"{self._key(items)}-*.npy"):
            content = path.read_bytes()
            if path.stem.partition("-")[2] == hashlib.sha256(content).hexdigest()[:32]:
                vectors: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
                return vectors
        return None

    def put(self, items: Sequence[IndexItem], vectors: NDArray[np.float32]) -> None:
        """Keeps the vectors of a chunk, wholly or not at all."""
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        content = buffer.getvalue()
        path = self._folder / f"{self._key(items)}-{hashlib.sha256(content).hexdigest()[:32]}.npy"
        part = path.with_suffix(".part")
        part.write_bytes(content)
        part.replace(path)

    def _key(self, items: Sequence[IndexItem]) -> str:
        digest = hashlib.sha256(self._fingerprint.encode())
        for item in items:
            digest.update(_identity(item.read))
        return digest.hexdigest()[:32]


def _identity(read: Any) -> bytes:
    """What tells one input from another: a text itself, a file by its path, size and time of change."""
    if isinstance(read, (str, tuple)):
        return json.dumps(read).encode() + b"\n"
    (item,) = read.values()
    if isinstance(item, (bytes, bytearray)):
        return hashlib.sha256(item).digest()
    if isinstance(item, (str, os.PathLike)):
        status = Path(item).stat() if Path(item).is_file() else None  # none: it cannot be encoded, and is told then
        facts = None if status is None else [status.st_size, status.st_mtime_ns]
        return json.dumps([os.fspath(item), facts], default=os.fsdecode).encode() + b"\n"
    raise OptionError(
        f"resume= recognises texts and files by their content, which is impossible for {type(item).__name__}; give "
        "paths, or build without it"
    )


def _bar(passages: Iterable[Any], *, wanted: bool) -> Any:
    from tqdm.auto import tqdm

    total = len(passages) if isinstance(passages, Sized) else None
    return tqdm(total=total, desc="encoding", unit=" passages", disable=not wanted)
