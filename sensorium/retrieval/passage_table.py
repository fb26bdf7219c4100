"""The passages of an index: an Arrow table, memory-mapped where it comes from disk, and the names of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.retrieval.reading.passages import RESERVED

FIXED = {
    "text": pa.large_string(),
    "title": pa.string(),
    "source": pa.string(),
    "start": pa.int64(),
    "end": pa.int64(),
}
"""The columns that every table has, after `id`: int64 or string."""


class PassageTable:
    """Passages as rows, in the order in which they were added; a row is never changed.

    Args:
        table: with the columns `id`, those of `FIXED`, and any of metadata.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> PassageTable:
        """Makes a table of rows that hold at least an id.

        Raises:
            InputError: metadata of one name have several types, or one that a table cannot hold.
        """
        names = dict.fromkeys(name for row in rows for name in row)
        further = [name for name in names if name not in RESERVED]
        texts = bool(rows) and isinstance(rows[0]["id"], str)
        columns = {"id": pa.array([row["id"] for row in rows], pa.string() if texts else pa.int64())}
        for name, kind in FIXED.items():
            columns[name] = pa.array([row.get(name) for row in rows], kind)
        for name in further:
            columns[name] = _column(name, [row.get(name) for row in rows])
        return cls(pa.table(columns))

    @classmethod
    def open(cls, path: Path) -> PassageTable:
        """Maps a file of `write` into memory; rows are read when they are asked for."""
        with pa.memory_map(str(path)) as source:
            return cls(pa.ipc.open_file(source).read_all())

    def write(self, path: Path) -> None:
        """Writes an Arrow IPC file."""
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.table.schema) as file:
            file.write_table(self.table, max_chunksize=65_536)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def ids(self) -> NDArray[Any]:
        """`(N,)`, int64 or str."""
        column = self.table["id"]
        if pa.types.is_string(column.type):
            return np.array(column.to_pylist(), dtype=np.str_)
        return np.asarray(column.to_numpy(), dtype=np.int64)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(self.ids, kind="stable")

    def find(self, ids: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All rows with these ids: `(M,)` places in `ids`, and `(M,)` rows, in the order of `ids`."""
        ordered = self.ids[self._order]
        first, last = np.searchsorted(ordered, ids, "left"), np.searchsorted(ordered, ids, "right")
        counts = last - first
        places = np.repeat(np.arange(len(ids)), counts)
        within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return places, self._order[np.repeat(first, counts) + within]

    def take(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """The passages of rows, as dicts."""
        passages: list[dict[str, Any]] = self.table.take(pa.array(rows)).to_pylist()
        return passages

    def keep(self, rows: NDArray[np.int64]) -> PassageTable:
        """The table of some rows alone."""
        return PassageTable(self.table.take(pa.array(rows)))

    def append(self, other: PassageTable) -> PassageTable:
        """The table with further rows; columns that one of them lacks are null there.

        Raises:
            InputError: metadata of one name have several types.
        """
        if not len(self):
            return other
        try:
            joined = pa.concat_tables([self.table, other.table], promote_options="default")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"the metadata of the new passages differ in type from those that are there: {error}",
                code="bad-metadata",
            ) from error
        return PassageTable(joined)

    def where(self, condition: Any) -> NDArray[np.bool_]:
        """Which rows meet a condition.

        Args:
            condition: a mapping from columns to a value, or to a list of values of which one is met; or an expression
                of `pyarrow.compute`, such as `pc.field("year") >= 2000`.

        Returns:
            `(N,)` bool.

        Raises:
            UnknownNameError: there is no such column; names the nearest one.
            OptionError: the condition is of the wrong kind, or does not suit a column's type.
        """
        expression = condition if isinstance(condition, pc.Expression) else self._expression(condition)
        rows = pa.array(np.arange(len(self)))
        try:
            table = ds.dataset(self.table.append_column("\0row", rows))
            kept = table.to_table(columns=["\0row"], filter=expression)["\0row"].to_numpy()  # copies no text
        except (pa.ArrowException, TypeError) as error:
            raise OptionError(f"where={condition} does not suit the passages: {error}") from error
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[kept] = True
        return mask

    def _expression(self, condition: Any) -> pc.Expression:
        if not isinstance(condition, Mapping):
            raise OptionError(
                'where is a mapping such as {"title": "Faust"} or {"year": [1808, 1832]}, or an expression of '
                f"pyarrow.compute, got {type(condition).__name__}"
            )
        expression = pc.scalar(True)
        for name, wanted in condition.items():
            if name not in self.table.column_names:
                raise UnknownNameError("column of the passages", name, self.table.column_names)
            values = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
            try:
                options = pa.array(values, self.table.schema.field(name).type)
            except (pa.ArrowException, TypeError) as error:
                kind = self.table.schema.field(name).type
                raise OptionError(f"where: {name} holds {kind}, got {wanted!r}") from error
            expression &= pc.field(name).isin(options)
        return expression


def _column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise InputError(
            f"the metadata {name!r} of these passages cannot be one column: {error}. Give them all one type, or turn "
            "them into texts.",
            code="bad-metadata",
        ) from error
