"""What was found for a query, and what would have been right: ids of one kind, and their grades."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from sensorium.errors import InputError

MAX_GRADE = 1000
"""Powers of two of larger grades would overflow floating-point numbers."""


def found_ids(ids: Any, query: int) -> list[Any]:
    """The ids that were found, without the -1 or "" that a search puts where there are no more.

    Raises:
        InputError: `bad-ranking`: something else than ids, or one of them twice.
    """
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise InputError(f"expected a list of ids, got {ids!r:.100}; put it in a list", code="bad-ranking", index=query)
    listed = [item for item in _plain(ids) if not _is_none(item)]
    for item in listed:
        _check_id(item, "bad-ranking", query)
    if len(set(listed)) < len(listed):
        raise InputError("expected a ranking that names an id once, got one twice", code="bad-ranking", index=query)
    return listed


def relevant_grades(right: Any, query: int) -> dict[Any, float]:
    """The relevant ids of a query with their grades, those of 0 left out.

    Raises:
        InputError: `no-relevant`, `bad-grade`, or `bad-id`: something else than ids, or what stands for none.
    """
    if isinstance(right, (str, bytes)) or not isinstance(right, (Collection, np.ndarray)):
        raise InputError(
            f"expected a collection of relevant ids, got {right!r:.100}; put it in a list", code="no-relevant",
            index=query,
        )  # fmt: skip
    for item in right if isinstance(right, Mapping) else _plain(right):
        _check_id(item, "bad-id", query)
        if _is_none(item):
            raise InputError(
                f"expected ids of passages, got {item!r}, which stands for none. Leave it out", code="bad-id",
                index=query,
            )  # fmt: skip
    graded = right if isinstance(right, Mapping) else dict.fromkeys(_plain(right), 1.0)
    for grade in graded.values():
        number = isinstance(grade, (int, float, np.integer, np.floating)) and not isinstance(grade, bool)
        if not number or not 0 <= grade <= MAX_GRADE:
            raise InputError(f"expected grades in [0, {MAX_GRADE}], got {grade!r}", code="bad-grade", index=query)
    kept = {item: float(grade) for item, grade in graded.items() if grade > 0}
    if not kept:
        raise InputError(
            "expected at least one relevant id; leave out a query that nothing answers", code="no-relevant", index=query
        )
    return kept


def check_kinds(found: Iterable[Any], relevant: Iterable[Any], query: int) -> None:
    """Refuses relevant ids of a kind that was not found at all: 1 and "1" are two ids, and never meet.

    Raises:
        InputError: `bad-id`.
    """
    kinds = {isinstance(item, str) for item in found}
    for item in relevant:
        if kinds and isinstance(item, str) not in kinds:
            wanted, got = ("numbers", "a text") if isinstance(item, str) else ("texts", "a number")
            raise InputError(
                f"the ids that were found are {wanted}, and the relevant id {item!r} is {got}: they never meet. Turn "
                "one into the kind of the other",
                code="bad-id",
                index=query,
            )


def _plain(ids: Any) -> list[Any]:
    """Python's own numbers and texts."""
    return ids.tolist() if hasattr(ids, "tolist") else list(ids)


def _is_none(item: Any) -> bool:
    return (isinstance(item, str) and item == "") or (not isinstance(item, (str, bool)) and item == -1)


def _check_id(item: Any, code: str, query: int) -> None:
    if isinstance(item, (bool, np.bool_)) or not isinstance(item, (str, int, np.integer)):
        raise InputError(
            f"expected ids, which are whole numbers or texts, got {item!r:.100} ({type(item).__name__})",
            code=code,
            index=query,
        )
