"""Parts of a file, read as a file of its own: what a decoder is to see of it, and nothing else."""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Part = bytes | range
"""Bytes as they are, or where in the file they stand."""


class Section:
    """A file made of parts of another, and of bytes put between them.

    Several of one stream may be read in turn: each keeps its own position. It raises nothing while a decoder in C reads
    it, where an exception would only be printed.

    Attributes:
        failure: what the stream raised, or None.
    """

    def __init__(self, stream: IO[bytes], parts: Sequence[Part]) -> None:
        self._stream = stream
        self._parts = [part for part in parts if len(part)]
        self._ends = list(itertools.accumulate(len(part) for part in self._parts))
        self._position = 0
        self.failure: OSError | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._ends[-1] if self._ends else 0

    @property
    def left(self) -> int:
        """Bytes after the position."""
        return self.size - self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of a file; before its start is its start."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where it stands."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """As of a file; after a failure, nothing more."""
        left = max(0, self.left)
        size = left if size < 0 else min(size, left)
        pieces: list[bytes] = []
        try:
            while size > 0 and self.failure is None:
                piece = self._piece(size)
                if not piece:  # the file has become shorter
                    break
                pieces.append(piece)
                self._position += len(piece)
                size -= len(piece)
        except (OSError, ValueError) as error:
            self.failure = error if isinstance(error, OSError) else OSError(str(error))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As of a file."""
        data = self.read(memoryview(buffer).nbytes)
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def _piece(self, size: int) -> bytes:
        """What follows in the part at the position."""
        number = bisect.bisect_right(self._ends, self._position)
        part = self._parts[number]
        begin = self._position - (self._ends[number] - len(part))
        if isinstance(part, bytes):
            return part[begin : begin + size]
        self._stream.seek(part.start + begin)
        return self._stream.read(min(size, len(part) - begin))
