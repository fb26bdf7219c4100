"""What a job's inputs are: written once, in the order in which the work is done, and never changed after that.

What a refresh finds is put beside it: new inputs in a further file, as shards of their own, and in another the inputs
that have changed, and are to be done again.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sensorium.errors import JobError, OptionError
from sensorium.jobs.changes import ChangedInputs
from sensorium.jobs.stores import Folder, LocalStore, Store, open_store

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "inputs.parquet"
FACTS = b"sensorium.listing"
STAMP = "listing:stamp"
"""The column that holds what tells whether a file has changed since it was listed."""

Columns = Iterable["pa.RecordBatch"]


class Listing:
    """The inputs of a job, in shards: the row groups of one Parquet file, and of those that refreshes have added.

    Attributes:
        path: of the first file, or its URL.
        inputs: how many there are.
        shards: how many row groups.
        facts: what was noted when they were listed: `skipped`, what folders held besides; `repeated`, how many inputs
            were named more than once, and are listed once; `schemes`, of the addresses among them.
    """

    def __init__(self, folder: Folder, refreshed: Sequence[Mapping[str, str]] = ()) -> None:
        """Opens the listing of a job.

        Args:
            folder: of the job.
            refreshed: what `job.json` tells of refreshes: the digests of the files of each, by their kinds.

        Raises:
            JobError: there is none, or it is not as it was written.
        """
        self._store = store = open_store(folder)
        self.path = store.where(NAME)
        self._files = [_opened(store, NAME)]
        self.facts: dict[str, Any] = dict(self._files[0][1])
        self._changes = []
        for number, digests in enumerate(refreshed, 1):
            if "inputs" in digests:
                self._files.append(_opened(store, _checked(store, name_of(number), digests["inputs"])))
                schemes = {*self.facts.get("schemes", ()), *self._files[-1][1].get("schemes", ())}
                self.facts["schemes"] = sorted(schemes)
            if "changed" in digests:
                self._changes.append(ChangedInputs(store, _checked(store, changes_of(number), digests["changed"])))
        counts = [file.metadata.num_row_groups for file, _ in self._files]
        self._ends = [sum(counts[: i + 1]) for i in range(len(counts))]
        self.inputs: int = sum(file.metadata.num_rows for file, _ in self._files)
        self.shards: int = self._ends[-1]

    @functools.cached_property
    def digest(self) -> str:
        """Of the file; to know it is to read it."""
        return self._store.digest(NAME)

    @property
    def schema(self) -> pa.Schema:
        """The columns: `input_id`, `source`, those that hold the inputs, and those that are carried along."""
        return self._files[0][0].schema_arrow

    def read(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """The inputs of a shard, as they were listed last.

        Raises:
            JobError: the file is damaged.
            OSError: the store cannot be reached.
        """
        import pyarrow as pa

        file, group = self._at(shard)
        try:
            table = file.read_row_group(group, columns)
            table.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and not isinstance(self._store, LocalStore):
                raise  # it may be out of reach for now
            raise _unreadable(self.path, error) from error
        for changes in self._changes:
            table = changes.put_into(table)
        return table

    def size(self, shard: int) -> int:
        """How many inputs a shard has."""
        file, group = self._at(shard)
        return int(file.metadata.row_group(group).num_rows)

    def to_do_again(self, shard: int, generation: int) -> list[int]:
        """The places of those inputs of a shard that have changed since its part was made.

        Args:
            shard: which.
            generation: of the part.
        """
        if not self._changes:
            return []
        first = self.start(shard)
        ids = {i for each in self._changes for i in each.after(generation, first, first + self.size(shard))}
        return sorted(i - first for i in ids)

    def start(self, shard: int) -> int:
        """The number of a shard's first input; of the one after the last, how many inputs there are."""
        return self._starts[shard]

    @functools.cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for shard in range(self.shards):
            starts.append(starts[-1] + self.size(shard))
        return starts

    def _at(self, shard: int) -> tuple[Any, int]:
        number = bisect.bisect_right(self._ends, shard)
        return self._files[number][0], shard - (self._ends[number - 1] if number else 0)


def name_of(number: int) -> str:
    """The name of the file with the inputs of a refresh; number 0 for those of the beginning."""
    return f"inputs-{number}.parquet" if number else NAME


def changes_of(number: int) -> str:
    """The name of the file with the inputs that a refresh has found changed."""
    return f"changed-{number}.parquet"


def write_listing(
    folder: Folder,
    batches: Columns,
    facts: dict[str, Any],
    *,
    shard_size: int,
    number: int = 0,
    first: int = 0,
) -> int:
    """Writes a file of a job's listing, whole or not at all, as the inputs come.

    Args:
        folder: of the job.
        batches: the inputs' columns; `input_id` is put before them.
        facts: is filled while `batches` are read, and kept with them.
        shard_size: inputs a shard.
        number: 0, or that of the refresh.
        first: the first `input_id`.

    Returns:
        How many inputs were written; where there are none, no file was.

    Raises:
        OptionError: columns that cannot be kept.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, name = open_store(folder), name_of(number)
    writer, count = None, 0
    with store.draft(name) as draft:
        try:
            for rows in _regrouped(batches, shard_size):
                ids = pa.array(range(first + count, first + count + len(rows)), pa.int64())
                table = pa.table({"input_id": ids, **{name: rows.column(name) for name in rows.column_names}})
                if writer is None:
                    writer = pq.ParquetWriter(draft, table.schema, compression="zstd")
                writer.write_table(table, row_group_size=shard_size)
                count += len(rows)
            if writer is not None:
                writer.add_key_value_metadata({FACTS.decode(): json.dumps(facts)})
                writer.close()
        except (pa.ArrowException, ValueError) as error:
            raise OptionError(f"the inputs cannot be listed after input {count}: {error}") from error
        finally:
            if writer is not None:
                with contextlib.suppress(pa.ArrowException):
                    writer.close()
        if count:
            store.publish(draft, name)
    return count


def _opened(store: Store, name: str) -> tuple[Any, dict[str, Any]]:
    """A file of a listing, and the facts in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(store.source(name))
        return file, dict(json.loads((file.metadata.metadata or {})[FACTS]))
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(store.where(name), error) from error


def _unreadable(path: str, error: Exception) -> JobError:
    return JobError(
        f"{path} cannot be read ({error}). It lists the inputs of the job: put it back, or start the job in another "
        "folder"
    )


def _checked(store: Store, name: str, digest: str) -> str:
    """A file that a refresh has written, if it is as it was."""
    try:
        intact = store.digest(name) == digest
    except OSError as error:
        raise JobError(
            f"{store.where(name)} cannot be read: {error}. It lists inputs of the job: put it back"
        ) from error
    if not intact:
        raise JobError(f"{store.where(name)} is not as it was written. It lists inputs of the job: put it back")
    return name


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
