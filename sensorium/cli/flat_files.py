"""Results as one flat table in a file, CSV or Parquet: a row for each thing that was found."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.sinks import Sink, WholeFile
from sensorium.cli.telling import printable
from sensorium.errors import InputError, OptionError

if TYPE_CHECKING:
    from sensorium.results.result import Result


class FlatFile(Sink):
    """The rows of all results, as `to_records` has them, in `.csv` or `.parquet`, written at the end and whole.

    A row has `index` and `source` of its input, what a record of the result has, dicts within it under joined names
    (`box_xmin`), and `error_code` and `error_message`. An input that failed, or in which nothing was found, has one row
    without the rest, so that none is missing. A field of a record that is called as one of these four is `result_…`.
    """

    def __init__(self, path: str) -> None:
        """Takes the place where to write.

        Raises:
            OptionError: Parquet without pyarrow, or a file that cannot be written.
        """
        self._write = _write_csv if Path(path).suffix == ".csv" else _write_parquet
        self._rows: list[dict[str, Any]] = []
        if self._write is _write_parquet:
            try:
                import pyarrow.parquet  # noqa: F401 - told before any work
            except ImportError as error:
                raise OptionError(
                    "--output x.parquet needs pyarrow, which is not installed: pip install pyarrow, or write x.csv"
                ) from error
        self._file = WholeFile(path)

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Keeps the rows."""
        from sensorium.results.tables import rows_of

        of_input = {"index": outcome.index, "source": printable(source)}
        self._rows += [row | of_input for row in rows_of(outcome) or [of_input]]

    def finish(self) -> None:
        """Writes the file."""
        from sensorium.results.tables import ERROR, INPUT

        names = dict.fromkeys(name for row in self._rows for name in row if name not in INPUT + ERROR)
        columns = {name: [row.get(name) for row in self._rows] for name in (*INPUT, *names, *ERROR)}
        self._file.write(lambda part: self._write(part, columns))

    def close(self) -> None:
        """Removes what was begun, if it did not become the file."""
        self._file.close()


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


_TYPES = {"index": "int64", **dict.fromkeys(("source", "error_code", "error_message"), "string")}
"""Those of the columns that may be without a value in every row."""


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
