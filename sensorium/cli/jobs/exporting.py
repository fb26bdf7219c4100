"""`sensorium job export`: the rows of a job in one file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sensorium.cli.sinks import WholeFile
from sensorium.cli.telling import say
from sensorium.errors import OptionError
from sensorium.jobs import Job


def export(folder: str, to: str, *, status: str | None, overwrite: bool) -> int:
    """Writes the rows, some at a time.

    Returns:
        0.

    Raises:
        OptionError: the file is of no kind that is written, or is there.
        JobError: there are no rows, or a part is damaged.
    """
    import pyarrow.compute

    path = Path(to)
    if path.suffix not in _WRITERS:
        raise OptionError(f"--to takes a file name ending in {', '.join(_WRITERS)}, got {to!r}")
    if path.exists() and not overwrite:
        raise OptionError(f"{to} is there; --overwrite replaces it")
    rows = Job.open(folder).results()
    if status is not None:
        rows = rows.filter(pyarrow.compute.field("status") == status)
    file = WholeFile(to, option="to")
    try:
        file.write(lambda part: _WRITERS[path.suffix](part, rows))
    finally:
        file.close()
    report = Job.open(folder).status()
    missing = "" if report.complete else f"; {report.inputs - report.done} inputs are still to be done"
    say(f"wrote {to}: {rows.count_rows()} rows{missing}")
    return 0


def _parquet(path: Path, rows: Any) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for batch in rows.to_batches():
            writer.write_batch(batch)


def _json_lines(path: Path, rows: Any) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in _rows(rows):
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _csv(path: Path, rows: Any) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows.schema.names)
        for row in _rows(rows):
            writer.writerow([_cell(value) for value in row.values()])


def _rows(rows: Any) -> Iterator[dict[str, Any]]:
    for batch in rows.to_batches():
        yield from batch.to_pylist()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict, bool)) else value


_WRITERS: dict[str, Callable[[Path, Any], None]] = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}
