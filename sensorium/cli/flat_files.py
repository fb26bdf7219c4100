"""Results as one flat table in a file, CSV or Parquet: a row for each thing that was found."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.sinks import Sink
from sensorium.cli.telling import printable
from sensorium.errors import InputError, OptionError

if TYPE_CHECKING:
    from sensorium.results.result import Result

_INPUT, _ERROR = ("index", "source"), ("error_code", "error_message")


class FlatFile(Sink):
    """The records of all results as `.csv` or `.parquet`, written at the end, whole or not at all.

    A row has `index` and `source` of its input, what a record of the result has, dicts within it under joined names
    (`box_xmin`), and `error_code` and `error_message`. An input that failed, or in which nothing was found, has one row
    without the rest, so that none is missing. A field of a record that is called as one of these four is `result_…`.
    """

    def __init__(self, path: str) -> None:
        """Remembers where to write.

        Raises:
            OptionError: Parquet without pyarrow.
        """
        self._path = Path(path)
        self._write = _write_csv if self._path.suffix == ".csv" else _write_parquet
        self._rows: list[dict[str, Any]] = []
        if self._write is _write_parquet:
            try:
                import pyarrow.parquet  # noqa: F401 - told before any work
            except ImportError as error:
                raise OptionError(
                    "--output x.parquet needs pyarrow, which is not installed: pip install pyarrow, or write x.csv"
                ) from error

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Keeps the rows."""
        known: dict[str, Any] = dict(zip(_INPUT, (outcome.index, printable(source)), strict=True))
        if isinstance(outcome, InputError):
            self._rows.append(known | dict(zip(_ERROR, (outcome.code, outcome.message), strict=True)))
            return
        for record in records(outcome) or [{}]:
            own = {f"result_{name}" if name in _INPUT + _ERROR else name: value for name, value in record.items()}
            self._rows.append(known | own)

    def finish(self) -> None:
        """Writes the file."""
        names = dict.fromkeys(name for row in self._rows for name in row if name not in _INPUT + _ERROR)
        columns = {name: [row.get(name) for row in self._rows] for name in (*_INPUT, *names, *_ERROR)}
        part = self._path.with_name(self._path.name + ".part")
        self._write(part, columns)
        part.replace(self._path)


def records(result: Result) -> list[dict[str, Any]]:
    """A flat dict for each thing that a result holds, from its `to_dict()`."""
    whole = result.to_dict()
    if isinstance(whole, Mapping):
        lengths = {len(value) if isinstance(value, list) else -1 for value in whole.values()}
        if len(lengths) > 1 or -1 in lengths:
            return [_flatten(whole)]
        whole = [dict(zip(whole, row, strict=True)) for row in zip(*whole.values(), strict=True)]
    if all(isinstance(row, Mapping) for row in whole):
        return [_flatten(row) for row in whole]
    return [{"value": whole}]  # such as a vector


def _flatten(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= _flatten(value, f"{prefix}{name}_") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _write_csv(path: Path, columns: Mapping[str, list[Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([_as_json(value) if isinstance(value, (list, tuple, bool)) else value for value in row])


def _write_parquet(path: Path, columns: Mapping[str, list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values, type=_TYPES.get(name) and getattr(pa, _TYPES[name])())
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # values of several kinds: a column of Parquet has one
            arrays[name] = pa.array([None if value is None else _as_json(value) for value in values], type=pa.string())
    pq.write_table(pa.table(arrays), path)


_TYPES = {"index": "int64", **dict.fromkeys(("source", *_ERROR), "string")}
"""Those of the columns that may be without a value in every row."""


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
