"""Lists a job's inputs again: finds what is new, what has changed, and what is gone."""

from __future__ import annotations

import bisect
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sensorium.errors import OptionError
from sensorium.jobs.changes import GENERATION, write_changes
from sensorium.jobs.listing import STAMP, Columns, Listing, changes_of, name_of, write_listing
from sensorium.jobs.stores import Store
from sensorium.results.surrogates import as_they_were

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = 10
"""Names of inputs that are told of each kind."""

_AT_ONCE = 4096


@dataclass
class Relisted:
    """What listing the inputs again has found.

    Attributes:
        added: inputs that are new; they are the last ones now.
        changed: inputs whose size, time or tag is another than when they were listed.
        gone: inputs that are not there any more; their rows stay.
        again: whether those that have changed are done again.
        examples: the first few that have `changed`, and those that are `gone`.
    """

    added: int = 0
    changed: int = 0
    gone: int = 0
    again: bool = False
    examples: dict[str, list[str]] = field(default_factory=lambda: {"changed": [], "gone": []})

    def __str__(self) -> str:
        what = "have changed, and are done again" if self.again else "have changed since they were listed"
        told = [f"{self.added} new inputs"]
        told += [f"{self.changed} {what}{self._some('changed')}"] if self.changed else []
        told += [f"{self.gone} are gone{self._some('gone')}"] if self.gone else []
        advice = "; redo_changed=True (--redo-changed) does them again" if self.changed and not self.again else ""
        return "; ".join(told) + advice

    def _some(self, kind: str) -> str:
        names = self.examples[kind]
        more = ", …" if getattr(self, kind) > len(names) else ""
        return f" ({', '.join(names)}{more})"


class Relisting:
    """Compares what is listed now with what was; what it has to remember lies on disk.

    Args:
        listing: as it was.
        generations: of the parts that there are, by their shards.
    """

    def __init__(self, listing: Listing, generations: Mapping[int, int]) -> None:
        self._listing, self._generations = listing, generations
        self._stamped = STAMP in listing.schema.names
        self.found = Relisted()
        self._known = sqlite3.connect("", isolation_level=None)  # in a file without a name
        for line in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "CREATE TABLE known (word BLOB PRIMARY KEY, id INTEGER, stamp TEXT, unseen INTEGER) WITHOUT ROWID",
            "CREATE TABLE changed (id INTEGER PRIMARY KEY, row BLOB)",
            "BEGIN",
        ):
            self._known.execute(line)

    def __enter__(self) -> Relisting:
        return self

    def __exit__(self, *_: object) -> None:
        self._known.close()

    def run(
        self, store: Store, batches: Columns, facts: dict[str, Any], *, number: int, shard_size: int, again: bool
    ) -> dict[str, str]:
        """Writes what is new, and what has changed if that is done again.

        Args:
            store: the folder of the job.
            batches: the inputs as they are listed now.
            facts: as for `write_listing`.
            number: of the refresh, from 1.
            shard_size: inputs a shard.
            again: whether what has changed is done again.

        Returns:
            The digests of the files that were written, by their kinds, for `job.json`.

        Raises:
            OptionError: the inputs cannot be listed, or have other columns than before.
        """
        self._remember()
        self.found.again = again
        written = {}
        self.found.added = write_listing(
            store,
            self._new(batches, keep=again),
            facts,
            shard_size=shard_size,
            number=number,
            first=self._listing.inputs,
        )
        if self.found.added:
            written["inputs"] = store.digest(name_of(number))
        name = changes_of(number)
        if again and write_changes(store, name, self._changed()):
            written["changed"] = store.digest(name)
        self.found.gone = self._one("SELECT COALESCE(SUM(unseen), 0) FROM known WHERE unseen > 0")
        gone = self._known.execute("SELECT id FROM known WHERE unseen > 0 ORDER BY id LIMIT ?", (EXAMPLES,)).fetchall()
        self.found.examples["gone"] = [self._source(row[0]) for row in gone]
        return written

    def _remember(self) -> None:
        put = "INSERT INTO known VALUES (?, ?, ?, 1) ON CONFLICT (word) DO UPDATE SET unseen = unseen + 1"
        for shard in range(self._listing.shards):
            table = self._listing.read(shard)
            ids = table.column("input_id").to_pylist()
            stamps = table.column(STAMP).to_pylist() if self._stamped else [None] * len(ids)
            for batch in table.drop_columns("input_id").combine_chunks().to_batches():
                self._known.executemany(put, zip(_words(batch, stamped=self._stamped), ids, stamps, strict=True))

    def _new(self, batches: Columns, *, keep: bool) -> Iterator[pa.RecordBatch]:
        """Those of the inputs that were not listed before."""
        import pyarrow as pa

        schema = pa.schema([each for each in self._listing.schema if each.name != "input_id"])
        for given in batches:
            batch = _like(given, schema)
            stamps = batch.column(STAMP).to_pylist() if self._stamped else [None] * len(batch)
            new = []
            for i, word in enumerate(_words(batch, stamped=self._stamped)):
                known = self._known.execute("SELECT id, stamp, unseen FROM known WHERE word = ?", (word,)).fetchone()
                if known is None or not known[2]:
                    new.append(i)
                elif known[1] is None or stamps[i] is not None:
                    self._known.execute("UPDATE known SET unseen = unseen - 1 WHERE word = ?", (word,))
                    if known[1] not in (None, stamps[i]):
                        self._change(known[0], batch.slice(i, 1) if keep else None)
            if new:
                yield batch.take(pa.array(new, pa.int64()))

    def _change(self, input_id: int, row: pa.RecordBatch | None) -> None:
        self.found.changed += 1
        if len(self.found.examples["changed"]) < EXAMPLES:
            self.found.examples["changed"].append(self._source(input_id))
        if row is not None:
            self._known.execute("INSERT INTO changed VALUES (?, ?)", (input_id, row.serialize().to_pybytes()))

    def _changed(self) -> Iterator[pa.Table]:
        """The changed inputs, in the order of their numbers."""
        import pyarrow as pa

        schema = pa.schema([each for each in self._listing.schema if each.name != "input_id"])
        rows = self._known.execute("SELECT id, row FROM changed ORDER BY id")
        shard, end = -1, 0
        while some := rows.fetchmany(_AT_ONCE):
            generations = []
            for input_id, _ in some:
                while input_id >= end:
                    shard += 1
                    end += self._listing.size(shard)
                generations.append(self._generations.get(shard, -1) + 1)
            table = pa.Table.from_batches([pa.ipc.read_record_batch(row, schema) for _, row in some])
            ids = pa.array([input_id for input_id, _ in some], pa.int64())
            columns = {name: table.column(name) for name in table.column_names}
            yield pa.table({"input_id": ids, GENERATION: pa.array(generations, pa.int64()), **columns})

    def _source(self, input_id: int) -> str:
        shard = bisect.bisect_right(range(self._listing.shards), input_id, key=self._listing.start) - 1
        place = input_id - self._listing.start(shard)
        return str(as_they_were(self._listing.read(shard, ["source"]).column("source").to_pylist())[place])

    def _one(self, query: str) -> int:
        return int(self._known.execute(query).fetchone()[0])


def _words(batch: pa.RecordBatch, *, stamped: bool) -> Iterator[bytes]:
    """What tells the inputs apart: what they are called, or, of a table, what stands in the row."""
    if stamped:
        yield from (source.encode() for source in batch.column("source").to_pylist())
        return
    names = [name for name in batch.schema.names if name != "source"]
    columns = [_plain(batch.column(name)).to_pylist() for name in names]
    for row in zip(*columns, strict=True):
        yield hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _plain(column: pa.Array) -> pa.Array:
    """A column that Python has values for: times, which may lie beyond its own, as their numbers."""
    import pyarrow as pa

    kind = column.type
    return column.cast(f"int{kind.bit_width}").cast("int64") if pa.types.is_temporal(kind) else column


def _like(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the types that the listing has."""
    import pyarrow as pa

    if set(batch.schema.names) != set(schema.names):
        raise OptionError(
            f"the inputs have the columns {', '.join(batch.schema.names)} now, and had {', '.join(schema.names)}"
        )
    try:
        return batch.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise OptionError(f"the columns of the inputs have other types than before: {error}") from error
