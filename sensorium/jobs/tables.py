"""Tables as the inputs of a job: files that are read a piece at a time, and those in memory."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.checkpoints.passing import passing_folder
from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.jobs.json_lines import json_rows
from sensorium.processors.addresses import OF_THE_WEB, is_remote, scheme_of
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits
from sensorium.processors.remote import open_file_system
from sensorium.processors.urls import fetch, public_url

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".arrow": "ipc",
    ".feather": "feather",
}
"""What files of tables are read as, by the ends of their names."""

MAX_ROWS_OF_NOTHING = 1_000_000
"""Of a Parquet or Arrow file, beyond one for each of its bytes."""

PREFIX = "input:"
"""Before the names of those columns of a listing that hold the task's inputs."""


def is_table_file(path: str) -> bool:
    """Whether a file is a table, by its name."""
    return os.path.splitext(path)[1].lower() in FORMATS  # noqa: PTH122 - asked of each of millions


def is_table(given: Any) -> bool:
    """Whether an object is a table: of pandas, polars, Arrow or `datasets`."""
    return hasattr(given, "column_names") or hasattr(given, "columns") or hasattr(given, "to_batches")


def open_table(
    table: Any,
    columns: Mapping[str, str],
    carry: Sequence[str],
    inputs: Sequence[str],
    optional: Sequence[str],
    *,
    at_once: int,
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Iterator[pa.RecordBatch]:
    """The rows of a table, as a listing has them.

    Args:
        table: a file, or what `is_table` takes, or a list of dicts.
        columns: from the task's inputs to names of columns; an input that is not named has its own name.
        carry: the names of columns that go along.
        inputs: the task's inputs.
        optional: those that may be left out.
        at_once: rows a batch at most.
        limits: what a table of the web may cost.

    Raises:
        OptionError: the file cannot be read.
        UnknownNameError: a column, or an input, that is not there; names the nearest one.
    """
    import pyarrow as pa

    for name in columns:
        if name not in (*inputs, *optional):
            raise UnknownNameError("input of the task", name, (*inputs, *optional))
    called = os.fspath(table) if isinstance(table, (str, os.PathLike)) else f"{type(table).__name__}"

    def chosen(known: list[str]) -> dict[str, str]:
        if len(set(known)) < len(known):
            raise OptionError(f"the table {called} has two columns of one name: {', '.join(known)[:300]}")
        return _wanted(columns, carry, inputs, optional, known)

    row = 0
    try:
        for batch in _batches(table, at_once, limits, lambda known: [*chosen(known).values(), *carry]):
            wanted = chosen(batch.schema.names)
            arrays = {PREFIX + name: batch.column(column) for name, column in wanted.items()}
            carried = {name: batch.column(name) for name in carry}
            for array in (*arrays.values(), *carried.values()):
                array.validate(full=True)  # files are read as they are: texts that are not UTF-8, lengths that lie
            named = [_source_of(value, called, row + i) for i, value in enumerate(_texts(next(iter(arrays.values()))))]
            arrays = {"source": pa.array(named, pa.string()), **arrays, **carried}
            yield pa.RecordBatch.from_pydict(arrays)
            row += len(batch)
    except (pa.ArrowException, OSError, UnicodeError, csv.Error) as error:
        raise OptionError(
            f"the table {called} cannot be read after row {row}: {str(error).strip()}. Nothing of the job was begun"
        ) from error


def digest_of_table(table: Any) -> str:
    """What tells a table in memory from others."""
    known = getattr(table, "_fingerprint", None)  # of `datasets`
    if isinstance(known, str):
        return known
    digest = hashlib.sha256()
    if isinstance(table, (list, tuple)):
        for row in table:
            digest.update(repr(row).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:32]
    for batch in _batches(
        table.combine_chunks() if hasattr(table, "combine_chunks") else table, _AT_ONCE, DEFAULT_LIMITS
    ):
        digest.update(repr(batch.schema).encode())
        digest.update(batch.serialize())
    return digest.hexdigest()[:32]


def _wanted(
    columns: Mapping[str, str], carry: Sequence[str], inputs: Sequence[str], optional: Sequence[str], known: list[str]
) -> dict[str, str]:
    """The columns that hold the task's inputs, by the names of these."""
    for column in carry:
        if column not in known:
            raise UnknownNameError("column to carry along", column, known)
    wanted = {}
    for name in (*inputs, *optional):
        column = columns.get(name, name)
        if column in known:
            wanted[name] = column
        elif name in columns:
            raise UnknownNameError("column", column, known)
        elif name not in optional:
            advice = (
                f"It holds the task's input {name!r}: say which one does, columns={{{name!r}: …}}, --column {name}=…"
            )
            raise UnknownNameError("column", name, known, advice)
    return wanted


def _batches(
    table: Any, at_once: int, limits: MediaLimits, chosen: Callable[[list[str]], list[str]] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a table; of a file of columns those that are chosen out of its names."""
    import pyarrow as pa
    import pyarrow.dataset

    if isinstance(table, (str, os.PathLike)):
        with _at_hand(os.fspath(table), limits) as (system, path):
            yield from _of_file(system, path, at_once, chosen or list)
    elif isinstance(table, (list, tuple)):
        schema = None
        if not all(isinstance(row, Mapping) for row in table):
            raise OptionError("rows and other inputs came together; make a job of each")
        for some in _in_pieces(table, at_once):
            batch = pa.RecordBatch.from_pylist(list(some), schema=schema)
            schema = batch.schema
            yield batch
    elif hasattr(table, "with_format") and hasattr(table, "iter"):  # of `datasets`
        for each in table.with_format("arrow").iter(at_once):
            yield from each.to_batches(max_chunksize=at_once)
    elif isinstance(table, (pa.Table, pyarrow.dataset.Dataset)):
        small = {"max_chunksize": at_once} if isinstance(table, pa.Table) else {"batch_size": at_once}
        yield from table.to_batches(**small)
    elif hasattr(table, "iloc"):
        yield from pa.Table.from_pandas(table, preserve_index=False).to_batches(max_chunksize=at_once)
    elif hasattr(table, "to_arrow"):
        yield from table.to_arrow().to_batches(max_chunksize=at_once)
    else:
        one = f"; name one of its splits, {next(iter(table))!r}" if isinstance(table, Mapping) and table else ""
        raise OptionError(f"expected a table of pandas, polars, Arrow or datasets, got a {type(table).__name__}{one}")


@contextlib.contextmanager
def _at_hand(word: str, limits: MediaLimits) -> Iterator[tuple[Any, str]]:
    """The file system of a table, None for that of this machine, and its path there; one of the web is fetched."""
    if is_remote(word):
        yield open_file_system(word)
    elif scheme_of(word) in OF_THE_WEB:
        with passing_folder("sensorium-table-") as folder:
            path = folder / f"table{Path(word).suffix.lower()}"
            try:
                path.write_bytes(fetch(word, name=public_url(word), limits=limits, kind="table"))
            except InputError as error:
                raise OptionError(f"the table cannot be fetched. {error}") from error
            yield None, str(path)
    elif not Path(word).is_file():
        raise OptionError(f"the table {word!r} does not exist")
    else:
        yield None, word


def _of_file(
    system: Any, path: str, at_once: int, chosen: Callable[[list[str]], list[str]]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.dataset

    kind: Any = FORMATS[Path(path).suffix.lower()]
    if kind == "csv":  # 007 stays 007: what is carried along is not changed
        opened = open if system is None else system.open
        with opened(path, "r", encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        if not header:
            raise OptionError(f"the table {path} is empty; expected a first line with the columns' names")
        converted = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()))
        kind = pyarrow.dataset.CsvFileFormat(convert_options=converted)
    elif kind == "json":
        yield from json_rows(system, path, at_once)
        return
    found = pyarrow.dataset.dataset(path, format=kind, filesystem=system)
    read = list(dict.fromkeys(chosen(found.schema.names)))
    if kind in ("parquet", "ipc", "feather"):
        _check_rows(found.count_rows(), (Path(path).stat().st_size if system is None else system.size(path)), path)
    yield from found.to_batches(columns=read, batch_size=at_once, batch_readahead=1, fragment_readahead=1)


def _check_rows(rows: int, size: int, path: str) -> None:
    """Refuses a table of far more rows than its bytes can tell apart, which would be gone through for nothing."""
    most = MAX_ROWS_OF_NOTHING + size
    if rows > most:
        raise OptionError(
            f"the table {path} tells of {rows:,} rows in {size:,} bytes, where {most:,} are the most. Leave out rows "
            "that are the same, or write it without compression. Nothing of the job was begun"
        )


def _texts(column: Any) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute

    kind = column.type
    if pa.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}:
        stored = pyarrow.compute.is_valid(column.field("bytes"))  # a picture or sound of `datasets`
        column = pyarrow.compute.if_else(stored, None, column.field("path"))
        kind = column.type
    return column.to_pylist() if pa.types.is_string(kind) or pa.types.is_large_string(kind) else [None] * len(column)


def _source_of(value: str | None, table: str, row: int) -> str:
    """What a row is called: by the path, the URL or the text in it, if it is short, else by its place."""
    return value if value is not None and len(value) <= _LONGEST_NAME else f"{table}, row {row}"


def _in_pieces(rows: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    iterator = iter(rows)
    while some := tuple(itertools.islice(iterator, size)):
        yield some


_LONGEST_NAME = _AT_ONCE = 4096
