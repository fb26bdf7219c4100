"""JSON Lines as Arrow may read them."""

from __future__ import annotations

import re
from typing import IO

from sensorium.errors import OptionError

_NULL = re.compile(rb"[\r\n][ \t]*null")


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
