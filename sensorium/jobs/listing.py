"""What a job's inputs are: written once, in the order in which the work is done, and never changed after that."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sensorium.errors import JobError, OptionError
from sensorium.jobs.stores import Folder, open_store

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "inputs.parquet"
FACTS = b"sensorium.listing"

Columns = Iterable["pa.RecordBatch"]


class Listing:
    """The inputs of a job, in shards: the row groups of one Parquet file.

    Attributes:
        path: of the file, or its URL.
        inputs: how many there are.
        shards: how many row groups.
        facts: what was noted when they were listed: `skipped`, what folders held besides; `repeated`, how many inputs
            were named more than once, and are listed once.
    """

    def __init__(self, folder: Folder) -> None:
        """Opens the listing of a job.

        Raises:
            JobError: there is none, or it is not as it was written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        store = open_store(folder)
        self.path = store.where(NAME)
        try:
            self._file = pq.ParquetFile(store.source(NAME))
            self.facts: dict[str, Any] = json.loads((self._file.metadata.metadata or {})[FACTS])
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise JobError(
                f"{self.path} cannot be read ({error}). It lists the inputs of the job: put it back, or start the job "
                "in another folder"
            ) from error
        self._store = store
        self.inputs: int = self._file.metadata.num_rows
        self.shards: int = self._file.metadata.num_row_groups

    @cached_property
    def digest(self) -> str:
        """Of the file; to know it is to read it."""
        return self._store.digest(NAME)

    @property
    def schema(self) -> pa.Schema:
        """The columns: `input_id`, `source`, those that hold the inputs, and those that are carried along."""
        return self._file.schema_arrow

    def read(self, shard: int) -> pa.Table:
        """The inputs of a shard."""
        return self._file.read_row_group(shard)

    def size(self, shard: int) -> int:
        """How many inputs a shard has."""
        return int(self._file.metadata.row_group(shard).num_rows)


def write_listing(folder: Folder, batches: Columns, facts: dict[str, Any], *, shard_size: int) -> Listing:
    """Writes the listing of a job, whole or not at all, as the inputs come.

    Args:
        folder: of the job.
        batches: the inputs' columns; `input_id` is put before them.
        facts: is filled while `batches` are read, and kept with them.
        shard_size: inputs a shard.

    Raises:
        OptionError: there are no inputs, or columns that cannot be kept.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    store = open_store(folder)
    writer, count = None, 0
    with store.draft(NAME) as draft:
        try:
            for rows in _regrouped(batches, shard_size):
                ids = pa.array(range(count, count + len(rows)), pa.int64())
                table = pa.table({"input_id": ids, **{name: rows.column(name) for name in rows.column_names}})
                if writer is None:
                    writer = pq.ParquetWriter(draft, table.schema, compression="zstd")
                writer.write_table(table, row_group_size=shard_size)
                count += len(rows)
            if writer is None:
                raise OptionError("no input was found: expected files, folders, globs, or a table with rows")
            writer.add_key_value_metadata({FACTS.decode(): json.dumps(facts)})
            writer.close()
        except (pa.ArrowException, ValueError) as error:
            raise OptionError(f"the inputs cannot be listed after input {count}: {error}") from error
        finally:
            if writer is not None:
                with contextlib.suppress(pa.ArrowException):
                    writer.close()
        store.publish(draft, NAME)
    return Listing(store)


def _regrouped(batches: Columns, size: int) -> Iterator[pa.Table]:
    """The same rows in tables of one size, but for the last."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        while count >= size:
            whole = pa.Table.from_batches(waiting)
            yield whole.slice(0, size)
            waiting = whole.slice(size).to_batches()
            count -= size
    if count:
        yield pa.Table.from_batches(waiting)
