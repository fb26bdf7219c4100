"""Rows with typed columns in files: as they are in Parquet, as JSON where a format has no lists and structs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def _parquet(path: Path, schema: Any, batches: Iterable[Any]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _json_lines(path: Path, schema: Any, batches: Iterable[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in _rows(batches):
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _csv(path: Path, schema: Any, batches: Iterable[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(schema.names)
        for row in _rows(batches):
            writer.writerow([_cell(value) for value in row.values()])


def _rows(batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict, bool)) else value


ROW_FILES: Mapping[str, Callable[[Path, Any, Iterable[Any]], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _json_lines,
}
"""What writes record batches of a schema into a file, by its suffix."""
