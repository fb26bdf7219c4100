"""From a user's passages, texts, pictures or sounds to the rows of an index and the inputs of its encoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sensorium.errors import InputError
from sensorium.processors.several import refuse_one
from sensorium.retrieval.columns import Columns
from sensorium.retrieval.reading.passages import RESERVED, Passage

Modality = Literal["text", "image", "audio"]
Row = dict[str, Any]

CHUNK = 1024
"""Passages are read and batched in chunks of this size: cut at multiples of it, they give the same bytes again."""


@dataclass(frozen=True, slots=True)
class IndexItem:
    """One passage or medium.

    Attributes:
        row: what the index keeps of it.
        read: what an encoder reads: a text, a pair `(title, text)`, or `{"image": …}`, `{"audio": …}`.
        index: its place among the inputs.
    """

    row: Row
    read: Any
    index: int


class RowIntake:
    """Reads what comes into an index, and checks it before it is encoded: what is wrong with a row is its own error.

    Args:
        modality: what the items are.
        texts: whether ids are texts; None to have it from the first items: what most of them have.
        taken: whether the index has an id already.
        stored: the table of the index, where there is one.

    Attributes:
        columns: what the columns of metadata hold.
        texts: whether ids are texts; None where no item has been read.
    """

    def __init__(
        self,
        modality: Modality,
        *,
        texts: bool | None = None,
        taken: Callable[[Any], bool] = lambda _: False,
        stored: pa.Table | None = None,
    ) -> None:
        self.columns = Columns(stored)
        self.texts = texts
        self._modality, self._taken = modality, taken
        self._seen: set[Any] = set()

    def read(self, items: Iterable[Any], at_once: int = CHUNK) -> Iterator[list[IndexItem | InputError]]:
        """What the index and its encoder need of each item, some at a time; of an invalid one its error.

        Args:
            items: for texts a `Passage`, a text, a pair `(title, text)`, or a mapping with "text"; for media whatever a
                pipeline takes of that kind, or a mapping with "image" or "audio", and with metadata.
            at_once: how many are read together.

        Yields:
            Items, and errors with their `index`: of one that is invalid, whose id is of another kind or was used
            before, or whose metadata do not go with the others'.
        """
        refuse_one(items, "passages")
        iterator, index = iter(items), 0
        while some := list(islice(iterator, at_once)):
            outcomes = [self._parsed(item, index + i) for i, item in enumerate(some)]
            self._check_ids(outcomes)
            rows = [(i, outcome.row) for i, outcome in enumerate(outcomes) if isinstance(outcome, IndexItem)]
            for (i, row), error in zip(rows, self.columns.take([row for _, row in rows]), strict=True):
                if error is not None:
                    self._seen.discard(row["id"])
                    error.index, error.source = index + i, row["source"]
                    outcomes[i] = error
            yield outcomes
            index += len(some)

    def _parsed(self, item: Any, index: int) -> IndexItem | InputError:
        try:
            row, readable = (_text if self._modality == "text" else _medium)(item, self._modality)
            return IndexItem(row, readable, index)
        except InputError as error:
            error.index = index
            return error

    def _check_ids(self, outcomes: list[IndexItem | InputError]) -> None:
        """Puts errors in the places of items whose ids cannot be taken."""
        if self.texts is None:
            texts = [isinstance(each.row["id"], str) for each in outcomes if isinstance(each, IndexItem)]
            if texts:
                self.texts = 2 * sum(texts) > len(texts) - texts[0]  # of as many the first
        for i, outcome in enumerate(outcomes):
            if isinstance(outcome, IndexItem):
                given = outcome.row["id"]
                try:
                    check_kind(given, bool(self.texts))
                    if given is not None:
                        if given in self._seen or self._taken(given):
                            raise _twice([given])
                        self._seen.add(given)
                except InputError as error:
                    error.index, error.source = outcome.index, outcome.row["source"]
                    outcomes[i] = error


def check_unique(ids: NDArray[Any], *, existing: NDArray[Any] | None = None) -> None:
    """Refuses ids that come twice.

    Raises:
        InputError: `duplicate-id`; names the first ones.
    """
    values, counts = np.unique(ids, return_counts=True)
    twice = values[counts > 1]
    if existing is not None and len(existing) and not len(twice):
        twice = np.intersect1d(values, existing)
    if len(twice):
        raise _twice(twice.tolist())


def check_kind(passage_id: int | str | None, texts: bool) -> None:
    """Refuses a mix of numbers and texts, and a missing id where the others are texts.

    Raises:
        InputError: `bad-id`.
    """
    if isinstance(passage_id, str) != texts:
        wanted, got = ("a text", "a number" if passage_id is not None else "none") if texts else ("a number", "a text")
        raise InputError(
            f"the id of each passage is {wanted} in this index, got {got}: {passage_id!r}. Give all of them ids of one "
            "kind, or none.",
            code="bad-id",
        )


def _twice(ids: Sequence[Any]) -> InputError:
    shown = ", ".join(map(repr, ids[:3])) + (", …" if len(ids) > 3 else "")
    return InputError(
        f"each id belongs to one passage, and {len(ids):,} are used twice: {shown}. Leave the copies out, or delete "
        "the old ones first.",
        code="duplicate-id",
    )


def _text(item: Any, modality: Modality) -> tuple[Row, Any]:
    if isinstance(item, Mapping):
        if "text" not in item:
            raise InputError(
                f"expected a mapping with the key text, got {', '.join(map(str, item)) or 'none'}", code="not-text"
            )
        fixed = {name: item[name] for name in RESERVED if item.get(name) is not None}
        passage = Passage(**fixed, metadata={k: v for k, v in item.items() if k not in RESERVED})
    elif isinstance(item, tuple) and len(item) == 2:
        passage = Passage(item[1], title=item[0])
    else:
        passage = item if isinstance(item, Passage) else Passage(item)
    return passage.to_dict(), (passage.title, passage.text) if passage.title else passage.text


def _medium(item: Any, modality: Modality) -> tuple[Row, Any]:
    given: Mapping[str, Any] = {}
    if isinstance(item, Mapping) and modality in item:
        given = {name: value for name, value in item.items() if name != modality}
        item = item[modality]
    fixed = {name: given[name] for name in RESERVED if given.get(name) is not None}
    text = fixed.pop("text", "")
    blank = isinstance(text, str) and not text.strip()  # a medium needs none; the rest is checked as a passage's
    metadata = {name: value for name, value in given.items() if name not in RESERVED}
    row = Passage(modality if blank else text, **fixed, metadata=metadata).to_dict()
    if blank:
        row["text"] = ""
    if row["source"] is None and isinstance(item, (str, os.PathLike)):
        row["source"] = os.fspath(item)
    return row, {modality: item}
