"""The inputs that a refresh has found changed, and that are to be done again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.errors import JobError
from sensorium.jobs.stores import Store

if TYPE_CHECKING:
    import pyarrow as pa

GENERATION = "listing:generation"
"""The column that says from which generation on a part has what became of a changed input."""


class ChangedInputs:
    """Changed inputs as they were listed again, in the order of their numbers.

    Args:
        store: the folder of the job.
        name: of the file that `write_changes` has written.

    Raises:
        JobError: it cannot be read.
    """

    def __init__(self, store: Store, name: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._store, self._name = store, name
        try:
            known = pq.read_table(store.source(name), columns=["input_id", GENERATION])
        except (OSError, pa.ArrowException) as error:
            raise JobError(
                f"{store.where(name)} cannot be read: {error}. It lists inputs of the job: put it back"
            ) from error
        self._ids = known.column("input_id").to_numpy()
        self._generations = known.column(GENERATION).to_numpy()

    def after(self, generation: int, first: int, end: int) -> list[int]:
        """The inputs, of those from `first` to before `end`, that a part of this generation does not have."""
        low, high = np.searchsorted(self._ids, [first, end])
        some = slice(low, high)
        return [int(i) for i in self._ids[some][self._generations[some] > generation]]

    def put_into(self, table: pa.Table) -> pa.Table:
        """The inputs of a shard, those that have changed as they are now."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not table.num_rows or "input_id" not in table.column_names:
            return table
        ids = table.column("input_id").to_numpy()
        low, high = np.searchsorted(self._ids, [ids[0], ids[-1] + 1])
        if low == high:
            return table
        inside = [("input_id", ">=", int(ids[0])), ("input_id", "<=", int(ids[-1]))]
        changed = pq.read_table(self._store.source(self._name), columns=table.column_names, filters=inside).select(
            table.column_names
        )
        places = np.arange(len(ids))
        places[self._ids[low:high] - ids[0]] = len(ids) + np.arange(high - low)
        return pa.concat_tables([table, changed.cast(table.schema)]).take(places)


def write_changes(store: Store, name: str, tables: Iterable[pa.Table]) -> bool:
    """Writes changed inputs, whole or not at all.

    Args:
        store: the folder of the job.
        name: of the file.
        tables: their columns in the listing, and `GENERATION`.

    Returns:
        Whether there were any.
    """
    import pyarrow.parquet as pq

    writer: Any = None
    with store.draft(name) as draft:
        try:
            for table in tables:
                writer = writer or pq.ParquetWriter(draft, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        if writer is not None:
            store.publish(draft, name)
    return writer is not None
