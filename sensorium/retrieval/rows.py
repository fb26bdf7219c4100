"""From a user's passages, texts, pictures or sounds to the rows of an index and the inputs of its encoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError
from sensorium.processors.several import refuse_one
from sensorium.retrieval.reading.passages import RESERVED, Passage

Modality = Literal["text", "image", "audio"]
Row = dict[str, Any]


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


def read_rows(
    items: Iterable[Any],
    modality: Modality,
    *,
    skip: bool = False,
    texts: bool | None = None,
    taken: Callable[[Any], bool] = lambda _: False,
) -> Iterator[IndexItem | InputError]:
    """What the index and its encoder need of each item.

    Args:
        items: for texts a `Passage`, a text, a pair `(title, text)`, or a mapping with "text"; for media whatever a
            pipeline takes of that kind, or a mapping with "image" or "audio", and with metadata.
        modality: what the items are.
        skip: whether an invalid item comes as its error, instead of being raised.
        texts: whether ids are texts; None to have it from the first item.
        taken: whether the index has an id already.

    Raises:
        InputError: an invalid item, or one whose id is of another kind or was used before; it carries its `index`.
    """
    refuse_one(items, "passages")
    read = _text if modality == "text" else _medium
    seen: set[Any] = set()
    for index, item in enumerate(items):
        try:
            row, readable = read(item, modality)
            texts = isinstance(row["id"], str) if texts is None else texts
            _check_kind(row["id"], texts)
            if row["id"] is not None:
                if row["id"] in seen or taken(row["id"]):
                    raise _twice([row["id"]])
                seen.add(row["id"])
            yield IndexItem(row, readable, index)
        except InputError as error:
            error.index = index
            if not skip:
                raise
            yield error


def number(rows: Sequence[Row], *, first: int) -> None:
    """Gives rows without an id the next numbers that no other row has, in place.

    Args:
        rows: with an `id` that may be None, where ids are numbers.
        first: the next number.
    """
    given = {row["id"] for row in rows}
    for row in rows:
        if row["id"] is None:
            while first in given:
                first += 1
            row["id"] = first
        if not isinstance(row["id"], str):
            first = max(first, row["id"] + 1)


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


def rows_for(
    passages: Iterable[Any] | None,
    count: int,
    modality: Modality,
    *,
    texts: bool | None = None,
    taken: Callable[[Any], bool] = lambda _: False,
) -> list[Row]:
    """The rows of passages that come with `count` vectors, or blank ones; further arguments as in `read_rows`.

    Raises:
        InputError: an invalid passage, or a different number of them.
    """
    if passages is None:
        _check_kind(None, bool(texts))
        return [{"id": None, "text": "", "title": "", "source": None, "start": None, "end": None} for _ in range(count)]
    items = read_rows(passages, modality, texts=texts, taken=taken)
    rows = [item.row for item in items if isinstance(item, IndexItem)]
    if len(rows) != count:
        raise InputError(f"expected a vector for each passage, got {count:,} and {len(rows):,}", code="bad-vectors")
    return rows


def _check_kind(passage_id: int | str | None, texts: bool) -> None:
    """Refuses a mix of numbers and texts, a missing id where the others are texts, and numbers that are too large."""
    if isinstance(passage_id, str) != texts:
        wanted, got = ("a text", "a number" if passage_id is not None else "none") if texts else ("a number", "a text")
        raise InputError(
            f"the id of each passage is {wanted} in this index, got {got}: {passage_id!r}. Give all of them ids of one "
            "kind, or none.",
            code="bad-id",
        )
    if isinstance(passage_id, int) and not -(2**63) <= passage_id < 2**63:
        raise InputError(f"an id is a whole number of 64 bits, got {passage_id}", code="bad-id")


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
