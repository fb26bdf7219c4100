"""Results as one flat table in a CSV file: a row for each thing that was found."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.sinks import Sink, WholeFile
from sensorium.cli.telling import printable
from sensorium.errors import InputError

if TYPE_CHECKING:
    from sensorium.results.result import Result


class FlatFile(Sink):
    """The rows of all results, as `to_records` has them, in `.csv`, written at the end and whole.

    A row has `index` and `source` of its input, what a record of the result has, dicts within it under joined names
    (`box_xmin`), and `error_code` and `error_message`. An input that failed, or in which nothing was found, has one row
    without the rest, so that none is missing. A field of a record that is called as one of these four is `result_…`.
    """

    def __init__(self, path: str) -> None:
        """Takes the place where to write.

        Raises:
            OptionError: a file that cannot be written.
        """
        self._rows: list[dict[str, Any]] = []
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
        self._file.write(lambda part: _write_csv(part, columns))

    def close(self) -> None:
        """Removes what was begun, if it did not become the file."""
        self._file.close()


def _write_csv(path: Path, columns: Mapping[str, list[Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([_as_json(value) if isinstance(value, (list, tuple, bool)) else value for value in row])


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
