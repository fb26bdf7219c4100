"""JSON Lines as tables: what Arrow reads, but for what is none of JSON's, or would end the process."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from sensorium.errors import OptionError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_DEPTH = 64
"""Objects and lists in each other: Arrow's parser calls itself for each, up to the end of its stack."""

MAX_CELLS = 2**24
"""Objects times names, of the rows that are read at once: Arrow has a place for each name in each object."""

_NULL = re.compile(rb"[\r\n][ \t]*null")
_TEXT = re.compile(rb'"[^"\\\n]*(?:\\.[^"\\\n]*)*"')
_NAME = re.compile(_TEXT.pattern + rb"[ \t]*:")
_LONGEST = 2**22  # bytes of a line of which the rest is not waited for; Arrow takes none of 1 MiB
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def json_rows(system: Any, path: str, at_once: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file; Arrow's data sets make nothing of one line that has no end of line.

    Args:
        system: of fsspec; None for that of this machine.
        path: there.
        at_once: rows a batch at most.

    Raises:
        OptionError: objects in objects beyond `MAX_DEPTH`, other names in very many objects, or a number that is none.
        ArrowException: it is no JSON.
    """
    import pyarrow as pa
    import pyarrow.json

    with _opened(system, path) as file:
        found = pyarrow.json.open_json(file).schema
    # what looks like a time stays the text that it is
    schema = pa.schema([(f.name, pa.string() if pa.types.is_temporal(f.type) else f.type) for f in found])
    parsed = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    row = 0
    with _opened(system, path, names=_count_names(schema)) as file:
        for batch in pyarrow.json.open_json(file, parse_options=parsed):
            for column in batch.columns:
                _check_finite(column, path, row)
            row += len(batch)
            yield from (batch.slice(start, at_once) for start in range(0, len(batch), at_once))


@contextlib.contextmanager
def _opened(system: Any, path: str, names: int | None = None) -> Iterator[_PlainFile]:
    with (open if system is None else system.open)(path, "rb") as file:
        yield _PlainFile(JsonRows(file), path, names)


def _count_names(kind: pa.Schema | pa.DataType) -> int:
    """How many columns there are, those in lists and objects among them."""
    return sum(1 + _count_names(kind.field(i).type) for i in range(_inner(kind)))


def _inner(kind: Any) -> int:
    return len(kind) if hasattr(kind, "names") else int(kind.num_fields)


class JsonRows:
    """A file of JSON Lines of which no row is `null`: Arrow's reader ends the process where a block begins with one.

    It has what Arrow asks of a file that is read from its start to its end.

    Args:
        file: opened for reading bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._before = b"\n"  # the beginning of a row, as far as it may be one of `null`

    @property
    def closed(self) -> bool:
        """Whether the file is."""
        return self._file.closed

    def read(self, size: int = -1) -> bytes:
        """As of the file.

        Raises:
            OptionError: a row is `null`.
        """
        data = self._file.read(size)
        seen = self._before + data.removeprefix(b"\xef\xbb\xbf")
        if _NULL.search(seen):
            raise OptionError("a table in JSON Lines has an object a line, got a line with null; leave it out")
        end = seen.rstrip(b"nul")
        self._before = b"\n" + seen[len(end) :] if end.rstrip(b" \t").endswith((b"\r", b"\n")) else b""
        return data

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class _PlainFile(io.RawIOBase):
    """A file that is looked through while it is read, and ends with an error before what is too deep or wide is given.

    Args:
        file: of JSON Lines.
        path: what to call it.
        names: how many columns will be made of it; None for one of each name that is found.
    """

    def __init__(self, file: JsonRows, path: str, names: int | None) -> None:
        super().__init__()
        self._file, self._path, self._names = file, path, names
        self._found: set[bytes] = set()
        self._line = b""  # that has not ended yet
        self._open = b""  # brackets

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        whole, end, rest = data.rpartition(b"\n")
        if end or not data or len(self._line) > _LONGEST:
            self._check(self._line + whole + (rest if not end else b""))
            self._line = rest if end else b""
        else:
            self._line += data
        return data

    def _check(self, lines: bytes) -> None:
        brackets = self._open + _TEXT.sub(b"", lines).translate(None, _OTHERS)
        self._check_cells(lines, brackets.count(b"{"))
        for _ in range(MAX_DEPTH):
            before = len(brackets)
            brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
            if len(brackets) == before:
                break
        if brackets.count(b"{") + brackets.count(b"[") > MAX_DEPTH or b"{}" in brackets or b"[]" in brackets:
            raise OptionError(
                f"the table {self._path} has more than {MAX_DEPTH} objects and lists in each other, or brackets that "
                "do not match. Write it anew. Nothing of the job was begun"
            )
        self._open = brackets

    def _check_cells(self, lines: bytes, objects: int) -> None:
        if self._names is None:
            self._found.update(_NAME.findall(lines))
        names = self._names or len(self._found)
        if names * objects > MAX_CELLS:
            raise OptionError(
                f"the table {self._path} has {objects:,} objects close together, and {names:,} names in them, which is "
                f"more than {MAX_CELLS:,} together. Give all rows the same columns. Nothing of the job was begun"
            )


def _check_finite(column: pa.Array, path: str, row: int) -> None:
    """Refuses what Arrow reads as a number that is none of JSON's: NaN, Infinity, and whole ones of too many digits.

    Args:
        column: of a batch; the numbers may lie in its lists and objects.
        path: of the file.
        row: of the batch's first row.

    Raises:
        OptionError: there is one; names its row.
    """
    for at in _bad_numbers(column):
        raise OptionError(
            f"the table {path} has a number in row {row + at} that is none of JSON's: NaN, Infinity, or one above "
            "1.8e308. Put null for what is not known, or leave the row out. Nothing of the job was begun"
        )


def _bad_numbers(column: pa.Array) -> Iterator[int]:
    """The places of values with such a number in them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_floating(kind):
        yield from pc.indices_nonzero(pc.invert(pc.is_finite(column))).to_pylist()
    elif pa.types.is_list(kind):
        of = pc.list_parent_indices(column)
        yield from (of[at].as_py() for at in _bad_numbers(pc.list_flatten(column)))
    elif pa.types.is_struct(kind):
        for inner in column.flatten():
            yield from _bad_numbers(inner)
