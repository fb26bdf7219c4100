"""One row of a table, of which a result is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


class Cells:
    """What stands in one row of a table, for one kind of result; says which column is missing."""

    def __init__(self, row: Mapping[str, Any], of: str) -> None:
        self._row, self.of = row, of

    def check(self) -> None:
        """That the row is of an input that did not fail.

        Raises:
            ValueError: it is of one that failed.
        """
        code, message = (self._row.get(name) for name in ("error_code", "error_message"))
        if isinstance(code, str):
            raise ValueError(f"this row has no {self.of}: its input failed, {code}: {message}")

    def __getitem__(self, name: str) -> Any:
        """What stands in a column, as it is.

        Raises:
            ValueError: there is no such column.
        """
        if name not in self._row:
            raise ValueError(
                f"a {self.of} is made of a row with the column {name!r}, which this one lacks; it has "
                f"{', '.join(map(repr, self._row)) or 'none'}"
            )
        return self._row[name]

    def get(self, name: str) -> Any:
        """What stands in a column, None where it is null, which is NaN in pandas.

        Raises:
            ValueError: there is no such column.
        """
        value = self[name]
        return None if isinstance(value, float) and math.isnan(value) else value

    def needed(self, name: str) -> Any:
        """What stands in a column in which the row of a result has a value.

        Raises:
            ValueError: it is null.
        """
        value = self.get(name)
        if value is None:
            raise ValueError(f"this row has no {self.of}: its column {name!r} is null")
        return value

    def fields(self, name: str, names: Sequence[str]) -> list[list[Any]]:
        """What stands in each of the fields of a column of structs.

        Raises:
            ValueError: the column is null, or a struct lacks a field.
        """
        structs = self.needed(name)
        try:
            return [[struct[field] for struct in structs] for field in names]
        except KeyError as error:
            raise ValueError(f"a {self.of} is made of {name!r} with the field {error}, which is lacking") from error
