"""Results that are rows: read like Transformers' lists of dicts or, where those are one dict, like that."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NoReturn, Self, overload

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import UnknownNameError
from sensorium.results.result import Result, put_source
from sensorium.results.row import Row


class Rows(Result):
    """A result of rows, which are dicts made on access; what a class adds is its arrays.

    Where `to_dict()` is one dict, so is the result for `result["key"]`, `result.get("key")`, `"key" in result`,
    `dict(result)` and `**result`. It still iterates over its rows, and has their number for its length.
    """

    __slots__ = ()

    @abstractmethod
    def __len__(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def _row(self, at: int) -> dict[str, Any]:
        """One row, of plain values; an IndexError where there is none."""

    @abstractmethod
    def _take(self, key: Any) -> Self:
        """The rows left by a slice, a boolean mask or an index array."""

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: slice | list[int] | NDArray[Any]) -> Self: ...
    def __getitem__(self, key: Any) -> Any:
        """A row for an integer; the rows left by a slice, a mask or an index array; an entry where there are keys.

        Raises:
            UnknownNameError: a KeyError, too: no such key; names those that there are.
        """
        if isinstance(key, str):
            return self._entry(key)
        if isinstance(key, (int, np.integer)):
            return Row(self._row(int(key)))
        taken = self._take(key)
        put_source(taken, self.source, self.time_s)
        return taken

    def __iter__(self) -> Iterator[Row]:
        return (Row(self._row(i)) for i in range(len(self)))

    def __contains__(self, key: object) -> bool:
        """Whether there is such a key; for a dict, whether it is one of the rows."""
        return key in self._keys() if isinstance(key, str) else any(row == key for row in self)

    def keys(self) -> list[str]:
        """The keys of the dict that the result is, so that `dict(result)` and `**result` work.

        Raises:
            TypeError: it is a list of rows.
        """
        return self._keys() or self._refuse_keys()

    def get(self, key: str, default: Any = None) -> Any:
        """The entry of a key, or `default` where the result, which must be one dict, has none.

        Raises:
            TypeError: it is a list of rows.
        """
        return self[key] if key in self.keys() else default

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of key and entry.

        Raises:
            TypeError: it is a list of rows.
        """
        return [(key, self[key]) for key in self.keys()]

    def _keys(self) -> list[str]:
        """The keys where the result is one dict, else none."""
        whole = self.to_dict()
        return list(whole) if isinstance(whole, dict) else []

    def _entry(self, key: str) -> Any:
        whole = self.to_dict()
        if isinstance(whole, dict) and key in whole:
            value = whole[key]
            return [Row(each) if type(each) is dict else each for each in value] if isinstance(value, list) else value
        kind = f"key of a {type(self).__name__}"
        if isinstance(whole, dict):
            raise UnknownNameError(kind, key, whole, "Rows are numbered: result[0].")
        known = list(whole[0]) if whole else []
        known_as = f"Its rows have {', '.join(known)}" if known else "It has no rows"
        raise UnknownNameError(kind, key, (), f"{known_as}; it is a list of rows: result[0][{key!r}].")

    def _refuse_keys(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(
            f"this {name} is a list of rows, not one dict; use result[0], or result.to_dict() for the list of dicts"
        )
