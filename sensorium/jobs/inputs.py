"""From what a user names to the columns of a listing: files and texts, or the rows of tables."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import OptionError
from sensorium.jobs.tables import digest_of_table, is_table, is_table_file, open_table
from sensorium.processors.folders import FileSearch, media_kind
from sensorium.processors.skipped import Skipped
from sensorium.results.surrogates import storable
from sensorium.retrieval.reading.finding import is_excluded

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 4096
"""Inputs that are read into memory at once while they are listed."""

RESERVED = ("input_id", "source", "status", "error_code", "error_message")
"""Columns that every row of a job has."""


@dataclass(frozen=True)
class Inputs:
    """What the inputs of a job are, as the user says it.

    Attributes:
        given: one of, or several of: files, folders, globs, URLs, texts, `@list.txt` with one of these a line, `-` for
            the lines of standard input, and files of tables (`.parquet`, `.csv`, `.jsonl`); or a table.
        columns: of a table: which column has which input of the task.
        carry: columns of a table that go into the results as they are.
        named: inputs of the task that are the same for all.
        exclude: patterns of files and folders that are left out.
    """

    given: Any
    columns: Mapping[str, str] = field(default_factory=dict)
    carry: tuple[str, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        taken = [name for name in self.carry if name in RESERVED]
        if taken:
            raise OptionError(f"the column {taken[0]!r} cannot be carried: every row of a job has one of that name")

    def described(self) -> dict[str, Any]:
        """What `job.json` says of them."""
        given = self.given
        if is_table(given) or _is_rows(given):
            given = f"a {type(given).__name__} with the digest {digest_of_table(given)}"
        elif isinstance(given, (str, os.PathLike)):
            given = [os.fspath(given)]
        elif isinstance(given, (list, tuple)) and all(isinstance(each, (str, os.PathLike)) for each in given):
            given = [os.fspath(each) for each in given]
            if len(given) > AT_ONCE:
                digest = hashlib.sha256("\0".join(given).encode("utf-8", "surrogatepass")).hexdigest()
                given = f"{len(given)} inputs with the digest {digest}"
        else:
            raise OptionError(
                "inputs are paths, globs, URLs or texts, one or a list of them, or a table, which can be found again "
                f"when the job goes on; got a {type(given).__name__}. Save it to a file, or run pipeline(…) on it"
            )
        return {
            "given": given,
            "columns": dict(self.columns),
            "carry": list(self.carry),
            "named": dict(self.named),
            "exclude": list(self.exclude),
        }

    def batches(
        self, inputs: Sequence[str], optional: Sequence[str], facts: dict[str, Any]
    ) -> Iterator[pa.RecordBatch]:
        """The columns of a listing, some thousand rows at a time.

        Args:
            inputs: the names of the task's inputs.
            optional: of those that may be left out.
            facts: gets `kind`, "files" or "table", and what is to be told of the inputs.

        Raises:
            OptionError: columns that are not there, or inputs of a kind that cannot be listed.
        """
        wanted = [name for name in inputs if name not in self.named]
        if not wanted:
            raise OptionError(f"named gives all inputs of the task ({', '.join(inputs)}); one has to differ")
        first, *further = wanted
        if self._is_of_tables():
            facts["kind"] = "table"
            yield from self._rows([first, *further], optional)
            return
        missing = [name for name in further if name not in optional]
        if missing or self.columns or self.carry:
            what = f"the input {missing[0]!r} is missing" if missing else "columns were named"
            raise OptionError(
                f"{what}, and the inputs are no table. Give a table (a .parquet, .csv or .jsonl file, or an object) "
                f"with a column for each of {', '.join(inputs)}, or what is the same for all as named={{…}}"
            )
        facts["kind"], facts["input"] = ("files" if media_kind(first) else "texts"), first
        yield from self._words(first, facts)

    def depend_on_folder(self, name: str) -> bool:
        """Whether they may be other ones in another working directory.

        Args:
            name: of the task's first input.
        """
        given = self.given if isinstance(self.given, (list, tuple)) else [self.given]
        words = [os.fspath(each) for each in given if isinstance(each, (str, os.PathLike))]
        if media_kind(name) is None:
            words = [word for word in words if is_table_file(word)]
        absolute = all(Path(word.removeprefix("@")).is_absolute() or "://" in word for word in words)
        return not absolute or (len(words) < len(given) and media_kind(name) is not None)

    def _is_of_tables(self) -> bool:
        if is_table(self.given):
            return True
        if isinstance(self.given, (str, os.PathLike)):
            return is_table_file(os.fspath(self.given))
        if isinstance(self.given, (list, tuple)) and self.given:
            files = [isinstance(each, (str, os.PathLike)) and is_table_file(os.fspath(each)) for each in self.given]
            if any(files) and not all(files):
                raise OptionError("files of tables and other inputs came together; make a job of each")
            return all(files) or _is_rows(self.given)
        return False

    def _rows(self, inputs: Sequence[str], optional: Sequence[str]) -> Iterator[pa.RecordBatch]:
        tables = self.given
        if isinstance(tables, (str, os.PathLike)):
            tables = [tables]
        elif is_table(tables) or _is_rows(tables):
            tables = (tables,)
        for table in _found(tables):
            yield from open_table(table, self.columns, self.carry, inputs, optional, at_once=AT_ONCE)

    def _words(self, name: str, facts: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        skipped = Skipped()
        search = FileSearch.of(
            name, skipped, excluded=lambda path: bool(self.exclude) and is_excluded(path, self.exclude)
        )
        words = self._files(search)
        with _Seen() as seen:
            for some in _in_batches(seen.first_of(words), AT_ONCE):
                sources = pa.array(storable(some), pa.string())
                yield pa.RecordBatch.from_arrays([sources], ["source"])
            facts["repeated"] = seen.repeated
        facts["skipped"] = skipped.told()

    def _files(self, search: FileSearch) -> Iterator[str]:
        given = [self.given] if isinstance(self.given, (str, os.PathLike)) else self.given
        for each in given:
            if not isinstance(each, (str, os.PathLike)):
                raise OptionError(
                    f"a job's inputs are paths, URLs, texts or tables, which can be found again when it goes on; got a "
                    f"{type(each).__name__}. Save it to a file, or run pipeline(…) on it"
                )
            word = os.fspath(each)
            if word == "-":
                yield from _lines(sys.stdin.buffer, search)
            elif word.startswith("@") and search.kind is not None:
                try:
                    with Path(word[1:]).open("rb") as file:
                        yield from _lines(file, search)
                except OSError as error:
                    raise OptionError(f"{word!r} names a file with an input a line: {error}") from error
            else:
                found = search.expand(word)
                first = next(found, None)
                if first == word and search.kind is not None and _stands_for_several(word):
                    raise OptionError(f"{word!r} stands for no input; expected files of the kind {search.kind!r} there")
                yield from () if first is None else itertools.chain([first], found)


class _Seen:
    """Passes on each of many words once; what it has seen lies on disk."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryDirectory(prefix="sensorium-listing-")
        self._database = sqlite3.connect(Path(self._file.name, "seen"), isolation_level=None)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE seen (word BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self.repeated = 0

    def __enter__(self) -> _Seen:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._file.cleanup()

    def first_of(self, words: Iterable[str]) -> Iterator[str]:
        for word in words:
            put = self._database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?)", (word.encode("utf-8", "surrogatepass"),)
            )
            if put.rowcount:
                yield word
            else:
                self.repeated += 1


def _is_rows(given: Any) -> bool:
    return isinstance(given, (list, tuple)) and bool(given) and isinstance(given[0], Mapping)


def _stands_for_several(word: str) -> bool:
    return os.path.isdir(word) or (glob.has_magic(word) and not os.path.exists(word))  # noqa: PTH110, PTH112


def _found(tables: Iterable[Any]) -> Iterator[Any]:
    """Tables, those that a glob stands for among them."""
    for table in tables:
        word = os.fspath(table) if isinstance(table, (str, os.PathLike)) else ""
        yield from sorted(glob.glob(word, recursive=True)) if _stands_for_several(word) else [table]  # noqa: PTH207


def _lines(file: Any, search: FileSearch) -> Iterator[str]:
    for line in file:
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            yield from search.expand(name)


def _in_batches(words: Iterable[str], size: int) -> Iterator[list[str]]:
    some: list[str] = []
    for word in words:
        some.append(word)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
