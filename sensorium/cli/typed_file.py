"""Results as one table with typed columns in a Parquet or CSV file: a row for each input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.row_files import ROW_FILES
from sensorium.cli.sinks import Sink, WholeFile
from sensorium.errors import InputError, OptionError

if TYPE_CHECKING:
    from sensorium.results.result import Result

_TOGETHER = 1000
"""How many results become columns at once; until then they are objects, which take more memory."""


class TypedFile(Sink):
    """The table that `to_table` makes of all results, written at the end and whole.

    A Parquet file is compressed by zstd; a CSV file has the same columns, those of lists and structs as JSON.
    """

    def __init__(self, path: str) -> None:
        """Takes the place where to write.

        Raises:
            OptionError: there is no pyarrow, or the file cannot be written.
        """
        try:
            import pyarrow.parquet  # noqa: F401 - told before any work
        except ImportError as error:
            raise OptionError(
                f"--output x{Path(path).suffix} needs pyarrow, which is not installed: pip install pyarrow, or write "
                "x.jsonl"
            ) from error
        self._waiting: list[tuple[str, Result | InputError]] = []
        self._tables: list[Any] = []
        self._file, self._suffix = WholeFile(path), Path(path).suffix

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Keeps its row."""
        self._waiting.append((source, outcome))
        if len(self._waiting) == _TOGETHER:
            self._gather()

    def finish(self) -> None:
        """Writes the file."""
        import pyarrow as pa

        self._gather()
        table = pa.concat_tables(self._tables, promote_options="default")  # where all failed there are no results'
        self._file.write(lambda part: ROW_FILES[self._suffix](part, table.schema, table.to_batches()))

    def _gather(self) -> None:
        import pyarrow as pa

        from sensorium.results.surrogates import storable
        from sensorium.results.tables import to_table

        table = to_table([outcome for _, outcome in self._waiting])
        sources = pa.array(storable(source for source, _ in self._waiting), pa.string())
        self._tables.append(table.set_column(table.column_names.index("source"), "source", sources))
        self._waiting.clear()
