"""From what a user names to the columns of a listing: files and texts, or the rows of tables."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sensorium.errors import OptionError
from sensorium.jobs.archives import Wanted, open_archive
from sensorium.jobs.listing import STAMP
from sensorium.jobs.members import is_archive
from sensorium.jobs.tables import digest_of_table, is_table, is_table_file, open_table
from sensorium.jobs.words import find_inputs
from sensorium.processors.addresses import is_remote
from sensorium.processors.folders import FileSearch, media_kind
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits
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
        given: one of, or several of: files, folders, globs, URLs, addresses of fsspec, texts, `@list.txt` with one of
            these a line, `-` for the lines of standard input; or files of tables (`.parquet`, `.csv`, `.jsonl`), or
            archives (`.tar`), or a table.
        columns: of a table: which column has which input of the task.
        carry: columns of a table that go into the results as they are.
        named: inputs of the task that are the same for all.
        exclude: patterns of files and folders that are left out.
        limits: what pages and tables of the web may cost, and whether they may be asked for.
    """

    given: Any
    columns: Mapping[str, str] = field(default_factory=dict)
    carry: tuple[str, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    limits: MediaLimits = DEFAULT_LIMITS

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
            facts: gets `kind`, "files", "texts", "table" or "archives", and what is to be told of the inputs.

        Raises:
            OptionError: columns that are not there, or inputs of a kind that cannot be listed.
        """
        wanted = [name for name in inputs if name not in self.named]
        if not wanted:
            raise OptionError(f"named gives all inputs of the task ({', '.join(inputs)}); one has to differ")
        if not self.limits.allow_urls and any(map(is_remote, self._named_words())):
            raise OptionError(
                "limits has allow_urls=False, and the inputs are on a remote file system; give one or other"
            )
        first, *further = wanted
        facts["kind"] = self._kind(first)
        if facts["kind"] == "table":
            yield from self._rows(wanted, optional)
            return
        if facts["kind"] == "archives":
            yield from self._members(wanted, optional, facts)
            return
        missing = [name for name in further if name not in optional]
        if missing or self.columns or self.carry:
            what = f"the input {missing[0]!r} is missing" if missing else "columns were named"
            raise OptionError(
                f"{what}, and the inputs are no table. Give a table (a .parquet, .csv or .jsonl file, or an object) "
                f"with a column for each of {', '.join(inputs)}, or what is the same for all as named={{…}}"
            )
        facts["input"] = first
        yield from self._words(first, facts)

    def depend_on_folder(self, name: str) -> bool:
        """Whether they may be other ones in another working directory.

        Args:
            name: of the task's first input.
        """
        given = self.given if isinstance(self.given, (list, tuple)) else [self.given]
        words = [os.fspath(each) for each in given if isinstance(each, (str, os.PathLike))]
        if media_kind(name) is None:
            words = [word for word in words if is_table_file(word) or is_archive(word)]
        absolute = all(Path(word.removeprefix("@")).is_absolute() or "://" in word for word in words)
        return not absolute or (len(words) < len(given) and media_kind(name) is not None)

    def _named_words(self) -> Iterator[str]:
        given = self.given if isinstance(self.given, (list, tuple)) else [self.given]
        return (os.fspath(each) if isinstance(each, (str, os.PathLike)) else "" for each in given)

    def _kind(self, name: str) -> Literal["table", "archives", "files", "texts"]:
        """What they are, by what they are called.

        Args:
            name: of the first input that differs.
        """
        if is_table(self.given) or _is_rows(self.given):
            return "table"
        count, tables, archives = 0, 0, 0
        for word in self._named_words():
            count, tables, archives = count + 1, tables + is_table_file(word), archives + is_archive(word)
        if tables + archives:
            if count not in (tables, archives):
                raise OptionError("files of tables, archives, and other inputs came together; make a job of each")
            return "table" if tables else "archives"
        return "texts" if media_kind(name) is None else "files"

    def _rows(self, inputs: Sequence[str], optional: Sequence[str]) -> Iterator[pa.RecordBatch]:
        tables = self.given
        if isinstance(tables, (str, os.PathLike)):
            tables = [tables]
        elif is_table(tables) or _is_rows(tables):
            tables = (tables,)
        for table in _found(tables):
            yield from open_table(
                table, self.columns, self.carry, inputs, optional, at_once=AT_ONCE, limits=self.limits
            )

    def _members(
        self, inputs: Sequence[str], optional: Sequence[str], facts: dict[str, Any]
    ) -> Iterator[pa.RecordBatch]:
        wanted = Wanted.of(inputs, optional, self.columns, self.carry)
        given = [self.given] if isinstance(self.given, (str, os.PathLike)) else self.given
        skipped: Counter[str] = Counter()
        for archive in _found(given):
            yield from open_archive(os.fspath(archive), wanted, skipped, at_once=AT_ONCE)
        facts["skipped"] = ", ".join(f"{count} {what}" for what, count in skipped.most_common() if what != "folders")

    def _words(self, name: str, facts: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        skipped, given = Skipped(), self.given
        search = FileSearch.of(
            name,
            skipped,
            excluded=lambda path: bool(self.exclude) and is_excluded(path, self.exclude),
            remote=True,
            stamped=True,
            limits=self.limits,
        )
        words = [given] if isinstance(given, (str, os.PathLike)) else given
        found = find_inputs(words, search, facts)
        while some := list(itertools.islice(found, AT_ONCE)):
            sources = pa.array(storable(each.path for each in some), pa.string())
            stamps = pa.array([each.stamp for each in some], pa.string())
            yield pa.RecordBatch.from_arrays([sources, stamps], ["source", STAMP])
        facts["skipped"] = skipped.told()


def _is_rows(given: Any) -> bool:
    return isinstance(given, (list, tuple)) and bool(given) and isinstance(given[0], Mapping)


def _found(files: Iterable[Any]) -> Iterator[Any]:
    """Files of tables or archives, those that a glob stands for among them."""
    search = FileSearch("image", remote=True)  # a glob takes what it matches, of whatever kind
    for file in files:
        word = os.fspath(file) if isinstance(file, (str, os.PathLike)) else ""
        if search.meaning(word) != "glob":
            yield file
        else:
            found = [path for path in search.expand(word) if path != word]
            if not found:
                raise OptionError(f"{word!r} stands for no file")
            yield from found
