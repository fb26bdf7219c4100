"""Encoding passages batch by batch; what is done can be kept on disk, so that an interrupted build goes on."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.dense.vectors import as_vectors
from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.keeping import KeptVectors, key_of
from sensorium.retrieval.passage_table import PassageTable
from sensorium.retrieval.rows import CHUNK, IndexItem, RowIntake, check_kind

OnError = Literal["raise", "skip"] | Callable[[InputError], Any]
Chunks = Iterable[list[IndexItem | InputError]]


@dataclass(frozen=True)
class EncodedPassages:
    """Passages, of which some may have no id yet, and their `(N, D)` float32 vectors."""

    table: PassageTable
    vectors: NDArray[np.float32]


@dataclass
class LeftOut:
    """What becomes of passages that cannot be encoded.

    Attributes:
        on_error: "raise" stops at the first; "skip" leaves them out, to warn once, with their number and the first
            reason; a function is called with each error instead.
        count: how many there were.
        first: the first.
    """

    on_error: OnError
    count: int = field(default=0, init=False)
    first: InputError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip") and not callable(self.on_error):
            raise OptionError(
                f'on_error is "raise", "skip" or a function that takes an InputError, got {self.on_error!r}'
            )

    def take(self, error: InputError) -> None:
        """Deals with one."""
        if self.on_error == "raise":
            raise error
        self.count += 1
        self.first = self.first or error
        if callable(self.on_error):
            self.on_error(error)

    def warn(self, done: int) -> None:
        """Warns of them, if nobody was told; `done` is how many were encoded."""
        if self.count and self.on_error == "skip":
            told = f"{self.count:,} of {self.count + done:,} passages were left out; the first: {self.first}"
            warnings.warn(told, stacklevel=4)


def encode_passages(
    passages: Iterable[Any],
    encoder: Encoder,
    intake: RowIntake,
    *,
    on_error: OnError,
    resume: str | os.PathLike[str] | None,
    progress: bool,
    run: Mapping[str, Any] | None = None,
) -> EncodedPassages:
    """Encodes passages.

    They are encoded `CHUNK` at a time, and kept one by one, by what they say: what was encoded by an earlier build,
    with whatever other passages, is not encoded again.

    Args:
        passages: as `Index.build` takes them.
        encoder: what encodes them.
        intake: checks them.
        on_error: as in `LeftOut`.
        resume: a folder that keeps vectors; None to keep nothing.
        progress: shows a progress bar on standard error.
        run: how a job encodes them in processes of its own; None to encode them in this one.

    Raises:
        InputError: a passage that cannot be encoded, or no passages.
        OptionError: an argument with an invalid value.
    """
    left_out = LeftOut(on_error)
    items = good_chunks(intake.read(passages, CHUNK), left_out)
    if run is not None:
        encoded: EncodedPassages = _jobs().encode(items, encoder, intake, left_out, resume, progress=progress, run=run)
        return encoded
    total = len(passages) if isinstance(passages, Sized) else None
    tables, vectors = [], []
    for chunk, found in encode_chunks(items, encoder, left_out, resume=resume, progress=progress, total=total):
        tables.append(PassageTable.of([item.row for item in chunk], intake.columns.types))
        vectors.append(found)
    check_some(sum(map(len, tables)))
    return EncodedPassages(PassageTable.stacked(tables, intake.columns.types), np.concatenate(vectors))


def check_run(run: Mapping[str, Any]) -> None:
    """Refuses what says how a job runs and is not right, before anything is loaded.

    Raises:
        UnknownNameError, OptionError: an unknown name, or an invalid value.
    """
    if run:
        _jobs().check(run)


def _jobs() -> Any:
    """Jobs stand above this package: they are asked for by name."""
    return importlib.import_module("sensorium.jobs.passages")


def check_some(count: int) -> None:
    """Refuses to make an index of nothing.

    Raises:
        InputError: `no-documents`.
    """
    if not count:
        raise InputError("expected passages to search, got none", code="no-documents")


def paired(passages: Iterable[Any] | None, vectors: Any, width: int | None, intake: RowIntake) -> EncodedPassages:
    """Passages, or None for blank ones, that come with their vectors.

    Raises:
        InputError: an invalid passage, or a different number of them; vectors that are none.
    """
    checked = as_vectors(vectors, width=width)
    if passages is None:
        check_kind(None, intake.texts or False)
        blank = {"id": None, "text": "", "title": "", "source": None, "start": None, "end": None}
        return EncodedPassages(PassageTable.of([blank] * len(checked)), checked)
    rows = [item.row for chunk in good_chunks(intake.read(passages), LeftOut("raise")) for item in chunk]
    if len(rows) != len(checked):
        raise InputError(
            f"expected a vector for each passage, got {len(checked):,} and {len(rows):,}", code="bad-vectors"
        )
    return EncodedPassages(PassageTable.of(rows, intake.columns.types), checked)


def good_chunks(chunks: Chunks, left_out: LeftOut) -> Iterator[list[IndexItem]]:
    """Items in chunks of one size, but for the last, without the errors between them."""
    waiting: list[IndexItem] = []
    for chunk in chunks:
        for outcome in chunk:
            if isinstance(outcome, IndexItem):
                waiting.append(outcome)
            else:
                left_out.take(outcome)
        while len(waiting) >= CHUNK:
            yield waiting[:CHUNK]
            waiting = waiting[CHUNK:]
    if waiting:
        yield waiting


def encode_chunks(
    chunks: Iterable[list[IndexItem]],
    encoder: Encoder,
    left_out: LeftOut,
    *,
    resume: str | os.PathLike[str] | None,
    progress: bool,
    total: int | None,
) -> Iterator[tuple[list[IndexItem], NDArray[np.float32]]]:
    """Encodes chunks of items in this process; in the end it warns of what was cut, and of what was left out.

    Args:
        chunks: as `good_chunks` gives them.
        encoder: what encodes them.
        left_out: what becomes of those that cannot be encoded.
        resume: a folder that keeps vectors.
        progress: shows a progress bar.
        total: how many items there are, where that is known.

    Yields:
        The items of each chunk that were encoded, and their vectors.
    """
    kept = None if resume is None else KeptVectors(Path(resume), encoder.fingerprint)
    done = cut = told = 0
    with _bar(total, wanted=progress) as bar:
        for chunk in chunks:
            bar.update(left_out.count - told)
            encoded = _encode(chunk, encoder, kept, bar)
            for error in encoded.errors:
                left_out.take(error)
            whole = np.flatnonzero(np.isfinite(encoded.vectors).all(axis=1))
            told = left_out.count
            done += len(whole)
            cut += encoded.cut
            yield [chunk[i] for i in whole.tolist()], encoded.vectors[whole]
    encoder.warn_of_cut(cut, done)
    left_out.warn(done)


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
                error = fault_of(outcome, encoder.name)
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


def fault_of(outcome: Any, name: str) -> InputError | None:
    """The error that an outcome is, or that a vector is to be told as, which holds what is no number."""
    if isinstance(outcome, InputError):
        return outcome
    if np.isfinite(outcome).all():
        return None
    return InputError(f'{name!r} gave a vector with NaN or infinity; try dtype="float32"', code="not-finite")


def _bar(total: int | None, *, wanted: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="encoding", unit=" passages", disable=not wanted)
