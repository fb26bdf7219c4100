"""The passages of an index: an Arrow table, memory-mapped where it comes from disk, and the names of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sensorium.retrieval.column_types import cast_to
from sensorium.retrieval.columns import joined
from sensorium.retrieval.filters import rows_that_meet
from sensorium.retrieval.lexical.bm25 import LexicalIndex
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
    def of(cls, rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType] | None = None) -> PassageTable:
        """Makes a table of rows that hold at least an id, which may be None for now.

        Args:
            rows: as `RowIntake` has checked them.
            types: of the columns of metadata, as it knows them.
        """
        types = types or {}
        names = dict.fromkeys(name for row in rows for name in row)
        texts = bool(rows) and isinstance(rows[0]["id"], str)
        columns = {"id": pa.array([row["id"] for row in rows], pa.string() if texts else pa.int64())}
        for name in (*FIXED, *(name for name in names if name not in RESERVED)):
            kind = FIXED.get(name) or types.get(name)
            columns[name] = pa.array([row.get(name) for row in rows], kind)
        return cls(pa.table(columns))

    @classmethod
    def stacked(cls, tables: Sequence[PassageTable], types: Mapping[str, pa.DataType]) -> PassageTable:
        """Tables one under the other.

        Args:
            tables: of the same intake.
            types: of all columns of metadata in the end, which those of earlier tables may have narrower ones of.
        """
        wide = [
            pa.table({name: cast_to(each.table[name], types.get(name)) for name in each.table.column_names})
            for each in tables
        ]
        return cls(pa.concat_tables(wide, promote_options="default").combine_chunks())

    def numbered(self, first: int) -> PassageTable:
        """The table with ids for the rows that have none: the next numbers that no other row has.

        Args:
            first: the next number.
        """
        if not self.table["id"].null_count:
            return self
        ids = self.table["id"].to_pylist()
        given = set(ids)
        for i, known in enumerate(ids):
            if known is None:
                while first in given:
                    first += 1
                ids[i] = first
            first = max(first, ids[i] + 1)
        return PassageTable(self.table.set_column(0, "id", pa.array(ids, pa.int64())))

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
    def lexical(self) -> LexicalIndex:
        """BM25 of titles and texts, those of deleted passages among them; counted when first needed."""
        texts = zip(self.table["title"].to_pylist(), self.table["text"].to_pylist(), strict=True)
        return LexicalIndex.of_passages(f"{title or ''}\n{text or ''}" for title, text in texts)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(self.ids, kind="stable")

    @cached_property
    def _ordered_ids(self) -> NDArray[Any]:
        return self.ids[self._order]

    def find(self, ids: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All rows with these ids: `(M,)` places in `ids`, and `(M,)` rows, in the order of `ids`."""
        ordered = self._ordered_ids
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
        """The table with further rows; columns that one of them lacks are null there, and whole numbers become floats.

        Raises:
            InputError: metadata of one name are of two kinds, or have values that no type holds together.
        """
        return PassageTable(joined(self.table, other.table))

    def where(self, condition: Any) -> NDArray[np.bool_]:
        """Which rows meet a condition, `(N,)` bool: as `filters.rows_that_meet` has it, which says what it raises."""
        return rows_that_meet(self.table, condition)
