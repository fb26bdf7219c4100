"""Categories: under which number a class stands in a file, and what it is called."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from sensorium.results.exporting.found_objects import FoundObjects

Given = Mapping[int, str] | Iterable[Mapping[str, Any]]
"""A name for each number, as a checkpoint's `id2label` has them; or COCO's own list of `{"id": …, "name": …}`."""


class Categories:
    """The classes of a file by number: those that it was told, or those that the results have."""

    def __init__(self, given: Given | None = None, *, numbering: bool = False) -> None:
        """Takes the classes.

        Args:
            given: all that there are; None for those of the results.
            numbering: whether classes without a number get one, in the order in which they come.

        Raises:
            ValueError: not of the form described, or a number comes twice.
        """
        self._told = given is not None
        self._numbering = numbering
        self._rows = {} if given is None else _read(given)
        self._numbers: dict[str, int] = {}
        for number, row in self._rows.items():
            self._numbers.setdefault(row["name"], number)

    def rows(self) -> list[dict[str, Any]]:
        """COCO's list of them, by number."""
        return [dict(self._rows[number]) for number in sorted(self._rows)]

    def names(self, numbers: Iterable[int]) -> list[str]:
        """The name of each number; the number itself where no classes were told.

        Raises:
            ValueError: one is not among those that were told.
        """
        numbers = list(numbers)
        unknown = sorted({number for number in numbers if number not in self._rows}) if self._told else []
        if unknown:
            raise ValueError(f"categories has no {', '.join(map(str, unknown[:8]))}, which annotations name")
        return [self._rows[number]["name"] if self._told else str(number) for number in numbers]

    def numbers(self, found: FoundObjects) -> list[int]:
        """The number of each object's class.

        Raises:
            ValueError: a class is not among those that were told; has no number, and none is given out; or has that of
                another.
        """
        return [self._number(label, number) for label, number in zip(found.labels, found.ids.tolist(), strict=True)]

    def _number(self, label: str, number: int) -> int:
        known = self._rows.get(number, {}).get("name")
        if number >= 0 and known == label:
            return number
        if self._told or number < 0:
            if label in self._numbers:
                return self._numbers[label]
            if self._told:
                raise ValueError(
                    f"{label!r:.100} is none of the categories that were given: {', '.join(self._numbers)!s:.300}"
                )
            if not self._numbering:
                raise ValueError(
                    f"this result knows its classes by name only, {label!r:.100} among them; pass "
                    'categories={0: "cat", 1: "dog"}, a number for each'
                )
            number, known = max(self._rows, default=0) + 1, None
        if known is not None:
            raise ValueError(
                f"class {number} is {label!r:.100} in one result and {known!r:.100} in another; pass "
                "categories={0: …, 1: …}, one number for each name"
            )
        self._rows[number] = {"id": number, "name": label}
        self._numbers.setdefault(label, number)
        return number


def _read(given: Given) -> dict[int, dict[str, Any]]:
    rows = given.items() if isinstance(given, Mapping) else ((_of(row, "id"), row) for row in given)
    found: dict[int, dict[str, Any]] = {}
    for number, row in rows:
        name = _of(row, "name") if isinstance(row, Mapping) else row
        try:
            number = operator.index(number)  # noqa: PLW2901 - NumPy's become Python's
        except TypeError:
            raise _no_categories(given) from None
        if not isinstance(name, str):
            raise _no_categories(given)
        if number in found:
            raise ValueError(f"categories has the number {number} twice")
        found[number] = {**(row if isinstance(row, Mapping) else {}), "id": number, "name": name}
    return found


def _of(row: Any, key: str) -> Any:
    return row.get(key) if isinstance(row, Mapping) else None


def _no_categories(given: Any) -> ValueError:
    return ValueError(
        'categories is {0: "cat", …}, a name for each number, or COCO\'s [{"id": 0, "name": "cat"}, …], got '
        f"{given!r:.200}"
    )
