"""Encoding passages batch by batch; what is done can be kept on disk, so that an interrupted build goes on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.encoding.encoder import CHUNK, Encoder
from sensorium.retrieval.keeping import KeptVectors, key_of
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

    They are read `CHUNK` at a time, and kept one by one, by what they say: what was encoded by an earlier build, with
    whatever other passages, is not encoded again.

    Args:
        passages: as `Index.build` takes them.
        encoder: what encodes them.
        on_error: "raise" stops at the first that cannot be encoded; "skip" leaves them out and warns once, with their
            number and the first reason; a function is called with each error instead.
        resume: a folder that keeps vectors; None to keep nothing.
        progress: shows a progress bar on standard error.
        texts: as in `read_rows`.
        taken: as in `read_rows`.

    Raises:
        InputError: a passage that cannot be encoded, or no passages.
        OptionError: an argument with an invalid value.
    """
    check_on_error(on_error)
    items = read_rows(passages, encoder.modality, skip=on_error != "raise", texts=texts, taken=taken)
    total = len(passages) if isinstance(passages, Sized) else None
    encoded = encode_items(items, encoder, on_error=on_error, resume=resume, progress=progress, total=total)
    if not encoded.rows:
        raise InputError("expected passages to search, got none", code="no-documents")
    return encoded


def check_on_error(on_error: object) -> None:
    """Refuses an unknown `on_error`.

    Raises:
        OptionError: it is none of those of `encode_passages`.
    """
    if on_error not in ("raise", "skip") and not callable(on_error):
        raise OptionError(f'on_error is "raise", "skip" or a function that takes an InputError, got {on_error!r}')


def encode_items(
    items: Iterable[IndexItem | InputError],
    encoder: Encoder,
    *,
    on_error: OnError,
    resume: str | os.PathLike[str] | None,
    progress: bool,
    total: int | None,
) -> EncodedPassages:
    """Encodes what `read_rows` gave; further arguments as in `encode_passages`.

    Args:
        items: those to encode, and errors of others.
        encoder: what encodes them.
        on_error: what becomes of errors.
        resume: a folder that keeps vectors.
        progress: shows a progress bar.
        total: how many items there are, where that is known.
    """
    items = iter(items)
    kept = None if resume is None else KeptVectors(Path(resume), encoder.fingerprint)
    rows: list[Row] = []
    vectors: list[NDArray[np.float32]] = []
    failures: list[InputError] = []
    cut = 0
    with _bar(total, wanted=progress) as bar:
        while chunk := list(islice(items, CHUNK)):
            good = [item for item in chunk if isinstance(item, IndexItem)]
            bar.update(len(chunk) - len(good))
            encoded = _encode(good, encoder, kept, bar)
            for error in [*(item for item in chunk if isinstance(item, InputError)), *encoded.errors]:
                if on_error == "raise":
                    raise error
                failures.append(error)
                if callable(on_error):
                    on_error(error)
            whole = np.flatnonzero(np.isfinite(encoded.vectors).all(axis=1))
            rows += [good[i].row for i in whole.tolist()]
            vectors.append(encoded.vectors[whole])
            cut += encoded.cut
    encoder.warn_of_cut(cut, len(rows))
    if failures and on_error == "skip":
        count = len(failures) + len(rows)
        warnings.warn(f"{len(failures):,} of {count:,} passages were left out; the first: {failures[0]}", stacklevel=3)
    joined = np.concatenate(vectors) if vectors else np.empty((0, encoder.dimension), np.float32)
    return EncodedPassages(rows, joined)


@dataclass
class _Outcome:
    """What became of some passages: vectors, NaN where there is none; errors; how many were cut."""

    vectors: NDArray[np.float32]
    errors: list[InputError]
    cut: int = 0


def _encode(items: list[IndexItem], encoder: Encoder, kept: KeptVectors | None, bar: Any) -> _Outcome:
    """Encodes those of some passages that are not kept; what is done is kept, whatever ends it."""
    chunk = _Outcome(np.full((len(items), encoder.dimension), np.nan, np.float32), [])
    keys = [key_of(item.read) for item in items] if kept else []
    found = [kept.get(key) for key in keys] if kept else [None] * len(items)
    for i, one in enumerate(found):
        if one is not None:
            chunk.vectors[i] = one[0]
            chunk.cut += one[1]
    left = [i for i, one in enumerate(found) if one is None]
    bar.update(len(items) - len(left))
    try:
        for batch in encoder.encode_batches([items[i].read for i in left]) if left else ():
            for place, outcome, cut in batch:
                i = left[place]
                error = _fault(outcome, encoder.name)
                if error is not None:
                    error.index = items[i].index
                    chunk.errors.append(error)
                    continue
                chunk.vectors[i] = outcome
                chunk.cut += cut
                if kept:
                    kept.put(keys[i], outcome, cut=cut)
            bar.update(len(batch))
            if kept:
                kept.write()
    finally:
        if kept:
            kept.join()
    chunk.errors.sort(key=lambda error: error.index or 0)
    return chunk


def _fault(outcome: Any, name: str) -> InputError | None:
    if isinstance(outcome, InputError):
        return outcome
    if np.isfinite(outcome).all():
        return None
    return InputError(f'{name!r} gave a vector with NaN or infinity; try dtype="float32"', code="not-finite")


def _bar(total: int | None, *, wanted: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="encoding", unit=" passages", disable=not wanted)
