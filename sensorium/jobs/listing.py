"""What a job's inputs are: written once, in the order in which the work is done, and never changed after that."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.checkpoints.writing import sync
from sensorium.errors import JobError, OptionError

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "inputs.parquet"
FACTS = b"sensorium.listing"

Columns = Iterable["pa.RecordBatch"]


class Listing:
    """The inputs of a job, in shards: the row groups of one Parquet file.

    Attributes:
        path: of the file.
        inputs: how many there are.
        shards: how many row groups.
        digest: of the file.
        facts: what was noted when they were listed: `skipped`, what folders held besides; `repeated`, how many inputs
            were named more than once, and are listed once.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the listing of a job.

        Raises:
            JobError: there is none, or it is not as it was written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = folder / NAME
        try:
            self._file = pq.ParquetFile(self.path)
            self.facts: dict[str, Any] = json.loads((self._file.metadata.metadata or {})[FACTS])
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise JobError(
                f"{self.path} cannot be read ({error}). It lists the inputs of the job: put it back, or start the job "
                "in another folder"
            ) from error
        self.digest = digest_of_file(self.path)
        self.inputs: int = self._file.metadata.num_rows
        self.shards: int = self._file.metadata.num_row_groups

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


def write_listing(folder: Path, batches: Columns, facts: dict[str, Any], *, shard_size: int) -> Listing:
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

    part = folder / f"{NAME}.{secrets.token_hex(4)}.part"
    writer, count = None, 0
    try:
        for rows in _regrouped(batches, shard_size):
            ids = pa.array(range(count, count + len(rows)), pa.int64())
            table = pa.table({"input_id": ids, **{name: rows.column(name) for name in rows.column_names}})
            if writer is None:
                writer = pq.ParquetWriter(part, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=shard_size)
            count += len(rows)
        if writer is None:
            raise OptionError("no input was found: expected files, folders, globs, or a table with rows")
        writer.add_key_value_metadata({FACTS.decode(): json.dumps(facts)})
        writer.close()
        sync(part)
        os.replace(part, folder / NAME)  # noqa: PTH105
        sync(folder)
    except (pa.ArrowException, ValueError) as error:
        raise OptionError(f"the inputs cannot be listed after input {count}: {error}") from error
    finally:
        if writer is not None:
            with contextlib.suppress(pa.ArrowException):
                writer.close()
        part.unlink(missing_ok=True)
    return Listing(folder)


def digest_of_file(path: Path) -> str:
    """A digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
