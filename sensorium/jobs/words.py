"""The words that stand for a job's inputs, and what they stand for: each input once, however many there are."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from sensorium.errors import OptionError
from sensorium.processors.addresses import is_remote, scheme_of
from sensorium.processors.folders import FileSearch
from sensorium.processors.remote import open_file_system
from sensorium.processors.searching import Found


def find_inputs(given: Iterable[Any], search: FileSearch, facts: dict[str, Any]) -> Iterator[Found]:
    """The inputs that words stand for.

    Args:
        given: the words.
        search: finds what one stands for.
        facts: gets `repeated`, how many came again, and `schemes`, those of addresses that fsspec opens.

    Raises:
        OptionError: a word that stands for no input, a list that cannot be read, or a scheme whose package is not
            installed.
    """
    words, schemes = list(itertools.islice(iter(given), 2)), set[str]()
    alone = len(words) == 1 and isinstance(words[0], (str, os.PathLike)) and not os.fspath(words[0]).startswith("@")
    alone = alone and os.fspath(words[0]) != "-"  # one folder, or one glob, has each of its files once
    with contextlib.nullcontext() if alone else _Seen() as seen:
        for found in _all(given, search):
            if seen is not None and not seen.is_first(found.path):
                continue
            if search.kind is not None and is_remote(found.path) and scheme_of(found.path) not in schemes:
                open_file_system(found.path)  # told now, and not of each input
                schemes.add(str(scheme_of(found.path)))
            yield found
        facts["repeated"] = 0 if seen is None else seen.repeated
    facts["schemes"] = sorted(schemes)


def _all(given: Iterable[Any], search: FileSearch) -> Iterator[Found]:
    for each in given:
        if not isinstance(each, (str, os.PathLike)):
            raise OptionError(
                f"a job's inputs are paths, URLs, texts or tables, which can be found again when it goes on; got a "
                f"{type(each).__name__}. Save it to a file, or run pipeline(…) on it"
            )
        word = os.fspath(each)
        if word == "-" or (word == "@-" and search.kind is not None):
            yield from _lines(sys.stdin.buffer, search)
        elif word.startswith("@") and search.kind is not None:
            with _opened(word[1:]) as file:
                yield from _lines(file, search)
        else:
            found = search.find(word)
            first = next(found, None)
            if first is not None and first.empty:
                raise OptionError(f"{word!r} stands for no input; expected files of the kind {search.kind!r} there")
            yield from () if first is None else itertools.chain([first], found)


def _lines(file: IO[bytes], search: FileSearch) -> Iterator[Found]:
    for line in file:
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            yield from search.find(name)


def _opened(name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    """A list of inputs."""
    try:
        if is_remote(name):
            system, path = open_file_system(name)
            return system.open(path, "rb")  # type: ignore[no-any-return]
        return Path(name).open("rb")
    except OSError as error:
        raise OptionError(f"'@{name}' names a file with an input a line: {error}") from error


class _Seen:
    """Tells which words have come before; what it has seen lies on disk."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # in a file without a name
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE seen (word BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self.repeated = 0

    def __enter__(self) -> _Seen:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def is_first(self, word: str) -> bool:
        """Whether it has not come before."""
        put = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (word.encode("utf-8", "surrogatepass"),))
        self.repeated += not put.rowcount
        return bool(put.rowcount)
