"""The results of a job on disk: one Parquet file for each shard, named by its content."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import JobError
from sensorium.jobs.stores import Folder, LocalStore, Store, open_store
from sensorium.jobs.stores.store import Source, is_passing

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "parts"
FACTS = b"sensorium.part"
CHECKED_AT_ONCE = 8

_DIGITS = 32
_NO_FACTS = (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
_NAME = re.compile(r"(\d{6,})-(\d+)\.([0-9a-f]{32})\.parquet")


@dataclass(frozen=True, order=True)
class Part:
    """A file of results.

    Attributes:
        shard: whose they are.
        generation: 0, and one more for each time that failures in it were tried again; the highest one counts.
        digest: of its content, as its name has it.
        store: the folder of its job.
    """

    shard: int
    generation: int
    digest: str
    store: Store = field(compare=False)

    @property
    def name(self) -> str:
        """What it is called in its folder."""
        return f"{FOLDER}/{self.shard:06}-{self.generation}.{self.digest}.parquet"

    @property
    def path(self) -> str:
        """Where it lies: a path or a URL."""
        return self.store.where(self.name)

    def check(self) -> None:
        """Compares the content with the digest.

        Raises:
            JobError: it was changed after it was written.
        """
        try:
            intact = self.store.digest(self.name)[:_DIGITS] == self.digest
        except OSError as error:
            raise JobError(f"{self.path} cannot be read: {error}") from error
        if not intact:
            raise JobError(
                f"{self.path} is not as it was written. Remove it, and the same call makes its rows again; nothing "
                "else is affected"
            )

    def counts(self, job: str, footer: Source | None = None) -> Counter[str]:
        """How many rows it has with each status, and of those that failed with each code (`code:missing-file`).

        Args:
            job: the job's digest.
            footer: what its metadata is read from, where that is open already.

        Raises:
            JobError: the file is damaged, or of another job or shard.
            OSError: it cannot be read now.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            source = next(self.store.footers([self.name])) if footer is None else footer
            facts = json.loads((pq.read_metadata(source).metadata or {})[FACTS])
            of, counts = (facts["job"], facts["shard"]), {name: int(count) for name, count in facts["counts"].items()}
        except (OSError, pa.ArrowException, *_NO_FACTS) as error:
            self.check()
            if isinstance(error, OSError):  # it is intact, and could not be read just now
                raise
            raise JobError(f"{self.path} is not a part of a job; remove it") from error
        if of != (job, self.shard):
            raise JobError(f"{self.path} is a part of another job, or of another shard; remove it")
        return Counter(counts)

    def rows(self, columns: list[str], *, failed: bool = False) -> Iterator[dict[str, Any]]:
        """Some columns of the rows, one by one, for those that only look at them: its digest is not compared.

        Args:
            columns: their names.
            failed: whether only rows without a result are wanted.

        Raises:
            JobError: the file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        filters = [("status", "!=", "ok")] if failed else None
        try:
            yield from pq.read_table(self.store.source(self.name), columns=columns, filters=filters).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise JobError(f"{self.path} cannot be read: {error}") from error

    def read(self) -> pa.Table:
        """The rows.

        Raises:
            JobError: the file is damaged.
            OSError: the store cannot be reached.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.check()
        try:
            return pq.read_table(self.store.source(self.name))
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and not isinstance(self.store, LocalStore):
                raise  # it may be out of reach for now
            raise JobError(f"{self.path} cannot be read: {error}") from error


def counts_of(parts: Iterable[Part], job: str) -> Iterator[tuple[Part, Counter[str]]]:
    """Parts of one folder with their counts, which are fetched many at once where they lie far away.

    Args:
        parts: the parts.
        job: the job's digest.

    Raises:
        JobError: a file is damaged, or of another job or shard.
    """
    parts = list(parts)
    if parts:
        footers = parts[0].store.footers([part.name for part in parts])
        for part, footer in zip(parts, footers, strict=True):
            yield part, part.counts(job, footer)


def check_parts(parts: Iterable[Part]) -> None:
    """Compares many parts with their digests, some at once.

    Raises:
        JobError: one was changed after it was written.
    """
    with ThreadPoolExecutor(CHECKED_AT_ONCE) as pool:
        for _ in pool.map(Part.check, parts):
            pass


def find_parts(folder: Folder) -> dict[int, Part]:
    """What has been done of a job: the newest part of each shard, the first of those that are equally new.

    A worker that ended just after it had written a part may have left one that was then made again.
    """
    newest: dict[int, Part] = {}
    for part in _all(open_store(folder)):
        other = newest.get(part.shard)
        if other is None or part.generation > other.generation:
            newest[part.shard] = part
    return newest


def write_part(folder: Folder, table: pa.Table, job: str, shard: int, generation: int) -> Part:
    """Writes the rows of a shard, whole or not at all.

    Args:
        folder: of the job.
        table: the rows.
        job: the job's digest.
        shard: whose rows they are.
        generation: 0, or how often failures in it have been tried again.

    Raises:
        OSError: the disk is full, or gone.
    """
    import pyarrow.parquet as pq

    store = open_store(folder)
    facts = {"job": job, "shard": shard, "counts": count(table)}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), FACTS: json.dumps(facts).encode()})
    with store.draft(f"{FOLDER}/{shard:06}-{generation}") as draft:
        pq.write_table(table, draft, compression="zstd")
        part = Part(shard, generation, digest_of_file(draft), store)
        store.publish(draft, part.name)
    return part


def sweep(folder: Folder) -> None:
    """Removes what interrupted runs have left: files that were not finished, and parts that were made again."""
    store = open_store(folder)
    newest = set(find_parts(store).values())
    for part in _all(store):
        if part not in newest:
            store.delete(part.name)
    for within in ("", f"{FOLDER}/"):
        for name in store.names(within.rstrip("/")):
            if is_passing(name):
                store.delete(within + name)


def count(table: pa.Table) -> Mapping[str, int]:
    """How many rows have each status, and each code of an error."""
    found: Counter[str] = Counter()
    for entry in table.column("status").value_counts().to_pylist():
        found[entry["values"]] += entry["counts"]
    for entry in table.column("error_code").drop_null().value_counts().to_pylist():
        found[f"code:{entry['values']}"] += entry["counts"]
    return dict(found)


def digest_of_file(path: Path) -> str:
    """What a part with this content is named by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def _all(store: Store) -> list[Part]:
    matches = (_NAME.fullmatch(name) for name in store.names(FOLDER))
    return sorted(Part(int(m[1]), int(m[2]), m[3], store) for m in matches if m)
