"""What a bomb is: a file made from code that asks for far more than it is large, and how it may end."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FINE = "fine"
"""A bomb that does no harm: it ends in a result."""

MIB = 2**20


@dataclass(frozen=True)
class Bomb:
    """One hostile input.

    Attributes:
        name: what it is.
        what: how it is read: a name in `tests.hostile.reading.READERS`.
        make: its bytes, in pieces where they are many; or writes what it is made of into a folder, and gives nothing.
        ends: how it may end: `FINE`, the code of an `InputError`, or the name of another error of ours.
        suffix: of its file.
    """

    name: str
    what: str
    make: Callable[[Path], bytes | Iterator[bytes] | None]
    ends: tuple[str, ...]
    suffix: str = ""

    def write(self, folder: Path) -> Path:
        """Makes it in a folder, and gives its place."""
        path = folder / f"bomb{self.suffix}"
        made = self.make(folder)
        if made is None:
            return path if path.exists() else folder
        with path.open("wb") as file:
            for piece in (made,) if isinstance(made, bytes) else made:
                file.write(piece)
        return path


def zeros(count: int) -> bytes:
    """A zlib stream of so many MiB of zeros, a thousandth as long."""
    return b"\x78\x9c" + raw_zeros(count) + struct.pack(">I", count * MIB % 65521 << 16 | 1)


def raw_zeros(count: int) -> bytes:
    """The same as bare deflate."""
    return _mebibyte() * count + b"\x03\x00"


@functools.cache
def _mebibyte() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)


def gzipped_zeros(count: int) -> bytes:
    """The same as gzip, whose checksum is wrong at its very end."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + raw_zeros(count) + bytes(4) + struct.pack("<I", count * MIB % 2**32)
