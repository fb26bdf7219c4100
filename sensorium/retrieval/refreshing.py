"""What a refresh has to do: which passages are there already, which only moved, and which are new or gone."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from sensorium.errors import InputError
from sensorium.retrieval.building import LeftOut, OnError, encode_chunks, good_chunks
from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.passage_table import PassageTable
from sensorium.retrieval.rows import IndexItem, Row, RowIntake, check_unique
from sensorium.retrieval.state import IndexState


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did, in numbers of passages.

    Attributes:
        kept: those that are as they were.
        moved: those that say what they said, in another place or with other metadata; they keep their ids and vectors.
        added: new ones, which were encoded.
        deleted: those that are no longer given.
    """

    kept: int
    moved: int
    added: int
    deleted: int


class Refreshing:
    """What passages shall be in an index; those that are new are encoded once, however often they are compared.

    Args:
        passages: as `Index.build` takes them, of texts.
        encoder: what encodes them.
        on_error: what becomes of those that cannot be encoded.
        resume: a folder that keeps vectors.
        progress: shows a progress bar.

    Attributes:
        types: of the columns of metadata, when they were last compared.
    """

    def __init__(
        self,
        passages: Sequence[Any],
        encoder: Encoder,
        *,
        on_error: OnError,
        resume: str | os.PathLike[str] | None,
        progress: bool,
    ) -> None:
        self.types: Mapping[str, pa.DataType] = {}
        self._passages, self._encoder, self._left_out = passages, encoder, LeftOut(on_error)
        self._settings: dict[str, Any] = {"resume": resume, "progress": progress}
        self._vectors: dict[int, NDArray[np.float32]] = {}
        self._told: set[int] = set()

    def changes(self, state: IndexState, scope: NDArray[np.bool_], intake: RowIntake) -> Changes:
        """What they change.

        Args:
            state: of the index.
            scope: `(N,)` bool, the passages that they stand for.
            intake: checks them.

        Raises:
            InputError: one that cannot be encoded.
        """
        outcomes = [outcome for chunk in intake.read(self._passages) for outcome in chunk]
        for outcome in outcomes:
            if isinstance(outcome, InputError) and outcome.index not in self._told:
                self._told.add(outcome.index or 0)
                self._left_out.take(outcome)
        found = Changes.of(state, scope, [item for item in outcomes if isinstance(item, IndexItem)], self._encode)
        self.types = intake.columns.types
        return found

    def _encode(self, items: Sequence[IndexItem]) -> tuple[list[IndexItem], NDArray[np.float32]]:
        """Those of some items that can be encoded, and their vectors."""
        new = [item for item in items if item.index not in self._vectors]
        chunks = good_chunks([[*new]], self._left_out)
        for some, vectors in encode_chunks(chunks, self._encoder, self._left_out, total=len(new), **self._settings):
            self._vectors.update(zip((item.index for item in some), vectors, strict=True))
        whole = [item for item in items if item.index in self._vectors]
        rows = [self._vectors[item.index] for item in whole]
        return whole, np.stack(rows) if rows else np.empty((0, self._encoder.dimension), np.float32)


@dataclass
class Changes:
    """What a refresh changes.

    Attributes:
        gone: rows that are no longer alive.
        rows: what takes their places, and what is new; some without an id yet.
        vectors: `(M, D)` float32, of those.
        counts: what is told of it.
    """

    gone: list[int]
    rows: list[Row]
    vectors: NDArray[np.float32]
    counts: Refreshed

    @classmethod
    def of(
        cls,
        state: IndexState,
        scope: NDArray[np.bool_],
        items: Sequence[IndexItem],
        encode: Callable[[Sequence[IndexItem]], tuple[list[IndexItem], NDArray[np.float32]]],
    ) -> Self:
        """Compares what there is with what there shall be, and has encoded what is new.

        Args:
            state: of the index.
            scope: `(N,)` bool, the passages that are compared.
            items: the passages that there shall be.
            encode: gives those that could be encoded, and their vectors.
        """
        (places,) = scope.nonzero()
        plan = _compared(items, places, state.table.take(places))
        for item, row in plan.moved:
            item.row["id"] = state.table.ids[row].item() if item.row["id"] is None else item.row["id"]
        moved = plan.moved
        asked = [item for item, _ in moved] if state.vectors is None else []  # faiss does not give vectors back
        encoded, vectors = encode([*asked, *plan.new])
        rows = [item.row for item in encoded]
        if state.vectors is None:  # one that cannot be encoded any more stays where it was
            made = {id(row) for row in rows}
            moved = [(item, row) for item, row in moved if id(item.row) in made]
        elif moved:
            rows = [*(item.row for item, _ in moved), *rows]
            vectors = np.concatenate([state.vectors[[row for _, row in moved]], vectors])
        kept = len(plan.kept) + len(plan.moved) - len(moved)
        counts = Refreshed(kept, len(moved), len(rows) - len(moved), len(plan.gone))
        return cls([*(row for _, row in moved), *plan.gone], rows, vectors, counts)

    def made(
        self, state: IndexState, types: Mapping[str, pa.DataType], *, next_id: int, device: torch.device
    ) -> IndexState:
        """The state after them.

        Args:
            state: the one that they were made for.
            types: of the columns of metadata.
            next_id: of rows without one.
            device: where an exact search runs.

        Raises:
            InputError: ids that come twice, or metadata of another kind than that of the passages that stay.
        """
        alive = state.alive.copy()
        alive[self.gone] = False
        state = replace(state, alive=alive)
        if not self.rows:
            return state
        table = PassageTable.of(self.rows, types).numbered(first=next_id)
        check_unique(table.ids, existing=state.table.ids[alive])
        return state.grown(table, self.vectors, device)


@dataclass
class _Plan:
    """Rows that stay; items with the row of which each says the same; new items; rows that no item has."""

    kept: list[int] = field(default_factory=list)
    moved: list[tuple[IndexItem, int]] = field(default_factory=list)
    new: list[IndexItem] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)


def _compared(items: Sequence[IndexItem], rows: NDArray[np.int64], passages: Sequence[Mapping[str, Any]]) -> _Plan:
    result = _Plan()
    same: dict[Any, list[int]] = defaultdict(list)
    for row, passage in zip(rows.tolist(), passages, strict=True):
        same[_words(passage)].append(row)
    known = dict(zip(rows.tolist(), map(_facts, passages), strict=True))
    left = []
    for item in items:
        facts = _facts(item.row)
        twins = same[_words(item.row)]
        row = next((row for row in twins if _agree(facts, known[row])), None)
        if row is None:
            left.append(item)
        else:
            twins.remove(row)
            result.kept.append(row)
    for item in left:
        if twins := same[_words(item.row)]:
            result.moved.append((item, twins.pop(0)))
        else:
            result.new.append(item)
    result.gone = sorted(row for twins in same.values() for row in twins)
    return result


def _words(passage: Mapping[str, Any]) -> tuple[str, str]:
    """What an encoder reads of a passage."""
    return passage["title"] or "", passage["text"]


def _facts(value: Any) -> Any:
    """A passage or a value of it as it comes back from a table: lists of sequences, no entry of what has no value."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _facts(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_facts(entry) for entry in value]
    return _NAN if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN is no other


_NAN = object()
"""What NaN is compared as, which is not equal to itself."""


def _agree(given: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a passage is as it was; one without an id may have any."""
    return given == (known if "id" in given else {name: value for name, value in known.items() if name != "id"})
