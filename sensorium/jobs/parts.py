"""The results of a job on disk: one Parquet file for each shard, named by its content."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.checkpoints.writing import sync
from sensorium.errors import JobError
from sensorium.jobs.description import is_passing

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "parts"
FACTS = b"sensorium.part"

_NAME = re.compile(r"(\d{6,})-(\d+)\.([0-9a-f]{32})\.parquet")
_PASSING = re.compile(r"\d{6,}-\d+\.[0-9a-f]{16}\.part")


@dataclass(frozen=True, order=True)
class Part:
    """A file of results.

    Attributes:
        shard: whose they are.
        generation: 0, and one more for each time that failures in it were tried again; the highest one counts.
        digest: of its content, as its name has it.
        path: where it lies.
    """

    shard: int
    generation: int
    digest: str
    path: Path

    def check(self) -> None:
        """Compares the content with the digest.

        Raises:
            JobError: it was changed after it was written.
        """
        try:
            intact = _digest(self.path) == self.digest
        except OSError as error:
            raise JobError(f"{self.path} cannot be read: {error}") from error
        if not intact:
            raise JobError(
                f"{self.path} is not as it was written. Remove it, and the same call makes its rows again; nothing "
                "else is affected"
            )

    def counts(self, job: str) -> Counter[str]:
        """How many rows it has with each status, and of those that failed with each code (`code:missing-file`).

        Args:
            job: the job's digest.

        Raises:
            JobError: the file is damaged, or of another job or shard.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            facts = json.loads((pq.read_metadata(self.path).metadata or {})[FACTS])
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            self.check()
            raise JobError(f"{self.path} is not a part of a job; remove it") from error
        if (facts["job"], facts["shard"]) != (job, self.shard):
            raise JobError(f"{self.path} is a part of another job, or of another shard; remove it")
        return Counter(facts["counts"])

    def read(self) -> pa.Table:
        """The rows.

        Raises:
            JobError: the file is damaged.
        """
        import pyarrow.parquet as pq

        self.check()
        return pq.read_table(self.path)


def find_parts(folder: Path) -> dict[int, Part]:
    """What has been done of a job: the newest part of each shard, the first of those that are equally new.

    A worker that ended just after it had written a part may have left one that was then made again.
    """
    newest: dict[int, Part] = {}
    for part in _all(folder):
        other = newest.get(part.shard)
        if other is None or part.generation > other.generation:
            newest[part.shard] = part
    return newest


def write_part(folder: Path, table: pa.Table, job: str, shard: int, generation: int) -> Part:
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

    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    passing = place / f"{shard:06}-{generation}.{secrets.token_hex(8)}.part"
    facts = {"job": job, "shard": shard, "counts": count(table)}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), FACTS: json.dumps(facts).encode()})
    try:
        pq.write_table(table, passing, compression="zstd")
        sync(passing)
        digest = _digest(passing)
        path = place / f"{shard:06}-{generation}.{digest}.parquet"
        passing.replace(path)
        sync(place)
    finally:
        passing.unlink(missing_ok=True)
    return Part(shard, generation, digest, path)


def sweep(folder: Path) -> None:
    """Removes what interrupted runs have left: files that were not finished, and parts that were made again."""
    newest = {part.path for part in find_parts(folder).values()}
    for part in _all(folder):
        if part.path not in newest:
            part.path.unlink(missing_ok=True)
    for path in (folder / FOLDER).glob("*.part"):
        if _PASSING.fullmatch(path.name):
            path.unlink(missing_ok=True)
    for path in folder.glob("*.part"):
        if is_passing(path.name):
            path.unlink(missing_ok=True)


def count(table: pa.Table) -> Mapping[str, int]:
    """How many rows have each status, and each code of an error."""
    found: Counter[str] = Counter()
    for entry in table.column("status").value_counts().to_pylist():
        found[entry["values"]] += entry["counts"]
    for entry in table.column("error_code").drop_null().value_counts().to_pylist():
        found[f"code:{entry['values']}"] += entry["counts"]
    return dict(found)


def _all(folder: Path) -> list[Part]:
    place = folder / FOLDER
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        matches: list[Any] = [_NAME.fullmatch(entry.name) for entry in entries]
    return sorted(Part(int(m[1]), int(m[2]), m[3], place / m[0]) for m in matches if m)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
