"""Files whose rows are passages, as DPR's `psgs_w100.tsv` and BEIR's `corpus.jsonl`."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, overload

from sensorium.errors import InputError, LimitError
from sensorium.retrieval.reading import strict_json
from sensorium.retrieval.reading.documents import OnError, check_file, check_on_error
from sensorium.retrieval.reading.finding import display_name
from sensorium.retrieval.reading.passages import RESERVED, Passage

LONGEST_LINE = 8 * 2**20
"""Bytes of a row at most."""

MOST_EQUAL = 100
"""Errors of one file's rows that are listed though they say the same; the rest are counted."""

_SUFFIXES = (".jsonl", ".ndjson", ".tsv")
_CHUNK = 2**20


@overload
def read_passages(
    path: str | os.PathLike[str], *, on_error: Literal["raise", "skip"] = "raise"
) -> Iterator[Passage]: ...


@overload
def read_passages(path: str | os.PathLike[str], *, on_error: OnError) -> Iterator[Passage | InputError]: ...


def read_passages(path: str | os.PathLike[str], *, on_error: OnError = "raise") -> Iterator[Passage | InputError]:
    """Read a file of passages, lazily, a row at a time; it may be of any size.

    - `.jsonl`, `.ndjson`: one object per line with "text" and, as in `Passage`, "title", "id" or "_id", "source",
      "start", "end"; what "metadata" holds, and whatever else there is, is metadata.
    - `.tsv`: first a row with the columns' names, of which one is "text"; the others as above. A value that begins with
      `"` ends with one, and has `""` for each in it.

    Either may be compressed, with `.gz` after its suffix. Both are UTF-8.

    Args:
        path: of the file.
        on_error: what becomes of a row that cannot be read. "raise" ends there, "skip" leaves it out, "return" puts its
            error in its place; of those that say the same only `MOST_EQUAL`, and at the end one that counts the rest. A
            file that cannot be read at all, or breaks off, always raises.

    Returns:
        Passages whose `source` is the row's, or else the file's path. An id in a `.tsv` stays a text.

    Raises:
        OptionError: an unknown `on_error`, at the call.
        InputError: `missing-file`, `unreadable-file`, `empty-file`, `unknown-format`, `bad-header`, `corrupt`; and of
            rows, with their position as `index`: `bad-row`, `bad-encoding`, and what `Passage` raises.
        LimitError: `too-many-bytes`, of a row; `passage-too-long`.
    """
    check_on_error(on_error)
    return _read(os.fspath(path), on_error)


def _read(path: str, on_error: OnError) -> Iterator[Passage | InputError]:
    name = display_name(path)
    check_file(path, name=name, max_bytes=None, advice="")
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{name}: expected a file whose name ends in {', '.join(_SUFFIXES)}, or one of these and .gz, got "
            f"{Path(name).suffix!r}. Documents are read by read_documents.",
            code="unknown-format",
            source=name,
        )
    try:
        with gzip.open(path) if path.lower().endswith(".gz") else open(path, "rb") as file:  # noqa: PTH123
            lines = _lines(file, name)
            fields = _object if suffix != ".tsv" else _columns(lines, name)
            yield from _passages(lines, fields, name, on_error)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{name}: expected a file that can be read to its end, got {error}. Check its permissions, or write or "
            f"download it again.",
            code="unreadable-file" if isinstance(error, PermissionError) else "corrupt",
            source=name,
        ) from error


def _passages(
    lines: Iterator[tuple[int, str | InputError]], fields: Callable[[str], dict[str, Any]], name: str, on_error: OnError
) -> Iterator[Passage | InputError]:
    index, refused = 0, _Refused(name)
    for number, line in lines:
        if isinstance(line, str) and not line.strip():
            continue
        outcome: Passage | InputError
        try:
            if isinstance(line, InputError):
                raise line
            outcome = _passage(fields(line), name)
        except InputError as error:
            outcome = error
        except (ValueError, RecursionError, csv.Error) as error:
            outcome = _bad_row(str(error))
        if isinstance(outcome, InputError):
            listed = refused.add(outcome, number, index)
            if on_error == "raise":
                raise listed or outcome
            if on_error == "return" and listed is not None:
                yield listed
        else:
            yield outcome
        index += 1
    if on_error == "return":
        yield from refused.rest()


class _Refused:
    """The errors of rows; of those that are equal many are listed, and the rest counted.

    A short line that is no row can stand in a small compressed file a million times.

    Args:
        name: of the file.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str], InputError] = {}

    def add(self, error: InputError, number: int, index: int) -> InputError | None:
        """The error with the line that it is of; None for one that is counted only.

        Args:
            error: of a row.
            number: of its line, from 1.
            index: of the row.
        """
        message = error.message.removeprefix(f"{self._name}: ")
        key = (error.code, message)
        count = self._seen.get(key, 0) + 1
        if count > 1 or len(self._seen) < MOST_EQUAL:
            self._seen[key] = count
        listed = type(error)(f"{self._name}, line {number}: {message}", code=error.code, source=self._name, index=index)
        if count <= MOST_EQUAL:
            return listed
        self._last[key] = listed
        return None

    def rest(self) -> Iterator[InputError]:
        """An error for each kind of which some were only counted, with the position of the last."""
        for key, last in self._last.items():
            more = self._seen[key] - MOST_EQUAL
            where, _, message = last.message.removeprefix(f"{self._name}, ").partition(": ")
            last.message = f"{self._name}, {more:,} rows more, the last in {where}: {message}"
            yield last


def _lines(file: io.BufferedIOBase, name: str) -> Iterator[tuple[int, str | InputError]]:
    """The lines, numbered from 1, without what ends them; an error for one that is not text or is too long."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(_CHUNK)) and not rest.endswith(b"\n"):
                pass
            yield (
                number,
                LimitError(
                    f"expected a row of at most {LONGEST_LINE:,} bytes, got more. Cut its text into passages first.",
                    code="too-many-bytes",
                ),
            )
            continue
        try:
            yield number, line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            got = line[error.start : error.start + 4]
            yield (
                number,
                InputError(
                    f"expected text in UTF-8, got bytes {got!r} at {error.start:,} of the line. Write it as UTF-8.",
                    code="bad-encoding",
                ),
            )


def _object(line: str) -> dict[str, Any]:
    row = strict_json.loads(line)
    if not isinstance(row, dict):
        raise _bad_row(f"expected a JSON object, got {type(row).__name__}")
    return row


def _columns(lines: Iterator[tuple[int, str | InputError]], name: str) -> Callable[[str], dict[str, Any]]:
    """Reads the header, and gives what reads the rows."""
    _, line = next(lines, (0, ""))
    names = line.split("\t") if isinstance(line, str) else []
    if "text" not in names or len(set(names)) < len(names):
        shown = line[:200] if isinstance(line, str) else "no text"
        raise InputError(
            f"{name}: expected the columns' names in the first row, separated by tabs, each once, such as id, text "
            f"and title, got {shown!r}. Put them there.",
            code="bad-header",
            source=name,
        )

    def fields(line: str) -> dict[str, Any]:
        (values,) = csv.reader([line], delimiter="\t", strict=True) if '"' in line else [line.split("\t")]
        if len(values) != len(names):
            raise _bad_row(f"expected {len(names)} values, {', '.join(names)}, got {len(values)}")
        return dict(zip(names, values, strict=True))

    return fields


def _passage(row: dict[str, Any], name: str) -> Passage:
    if "id" in row and "_id" in row:
        raise _bad_row('expected "id" or "_id", got both')
    if "text" not in row:
        raise _bad_row(f'expected a "text", got {", ".join(map(repr, row))[:200] or "nothing"}')
    row = {"id" if key == "_id" else key: value for key, value in row.items()}
    fixed = {key: row.pop(key) for key in RESERVED if key in row}
    metadata = row.pop("metadata", None) or {}
    if not isinstance(metadata, dict) or metadata.keys() & row.keys():
        raise _bad_row('expected "metadata" to be an object whose names the row does not have itself')
    fixed["title"] = "" if fixed.get("title") is None else fixed["title"]
    fixed["source"] = name if fixed.get("source") is None else fixed["source"]
    return Passage(**fixed, metadata={**row, **metadata})


def _bad_row(message: str, source: str | None = None) -> InputError:
    return InputError(f"{message}. Correct the row, or leave it out.", code="bad-row", source=source)
