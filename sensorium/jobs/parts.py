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

from sensorium.errors import JobError
from sensorium.retrieval.storage import sync

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "parts"
COUNTS = b"sensorium.counts"

_NAME = re.compile(r"(\d{6,})-(\d+)\.([0-9a-f]{32})\.parquet")


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

    def counts(self) -> Counter[str]:
        """How many rows it has with each status, and of those that failed with each code (`code:missing-file`).

        Raises:
            JobError: the file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return Counter(json.loads((pq.read_metadata(self.path).metadata or {})[COUNTS]))
        except (OSError, pa.ArrowException, KeyError, ValueError):
            self.check()
            raise

    def read(self) -> pa.Table:
        """The rows.

        Raises:
            JobError: the file is damaged.
        """
        import pyarrow.parquet as pq

        self.check()
        return pq.read_table(self.path)


def find_parts(folder: Path) -> dict[int, Part]:
    """What has been done of a job: the newest part of each shard.

    Raises:
        JobError: a shard has two parts of one generation.
    """
    newest: dict[int, Part] = {}
    for part in _all(folder):
        other = newest.get(part.shard)
        if other is not None and other.generation == part.generation:
            raise JobError(
                f"the shard {part.shard} has two parts, {other.path.name} and {part.path.name}, as if two runs had "
                "worked here at once. Remove one of them"
            )
        if other is None or part.generation > other.generation:
            newest[part.shard] = part
    return newest


def write_part(folder: Path, table: pa.Table, shard: int, generation: int) -> Part:
    """Writes the rows of a shard, whole or not at all.

    Raises:
        OSError: the disk is full, or gone.
    """
    import pyarrow.parquet as pq

    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    passing = place / f"{shard:06}-{generation}.{secrets.token_hex(8)}.part"
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), COUNTS: json.dumps(count(table)).encode()})
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
    for path in (*folder.glob("*.part"), *(folder / FOLDER).glob("*.part")):
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
