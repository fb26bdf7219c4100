"""Looks into a TIFF before any decoder sees it: its first directory says in what pieces the pixels lie."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from sensorium.errors import LimitError
from sensorium.processors.limits import MediaLimits

MAX_PIECES = 250_000
"""Strips or tiles: Pillow makes several objects of each."""
MAX_SAMPLES = 64
"""Channels of a pixel."""
_WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 277, 322, 323
_PIECES = (273, 279, 324, 325)  # where strips and tiles lie, and how long they are
_READ = frozenset([_WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT, *_PIECES])
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}


def check_tiff(stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    """Refuse a TIFF whose tiles are larger than a picture may be, or that has too many of them.

    What is damaged is left to the decoder.

    Raises:
        LimitError: `too-many-pixels`, `too-much-work`.
    """
    found: dict[int, int] = {}
    pieces = 0
    head = stream.read(16)
    for big in (False, True) if head[2:4] in (b"\x2b\0", b"\0\x2b") else (False,):  # Pillow takes some for the other
        for tag, count, value in _entries(stream, head, big=big):  # a tag may come twice
            found[tag] = max(value, found.get(tag, 0))
            pieces = max(pieces, count if tag in _PIECES else 0)
    if pieces > MAX_PIECES:
        raise _too_much(f"in at most {MAX_PIECES:,} strips or tiles, got {pieces:,}", name)
    if found.get(_SAMPLES, 1) > MAX_SAMPLES:
        raise _too_much(f"of at most {MAX_SAMPLES} channels, got {found[_SAMPLES]:,}", name)
    for width, height in ((_WIDTH, _HEIGHT), (_TILE_WIDTH, _TILE_HEIGHT)):
        if found.get(width, 0) > 0 and found.get(height, 0) > 0:
            limits.check_size(found[width], found[height], name=name)


def _entries(stream: IO[bytes], head: bytes, *, big: bool) -> Iterator[tuple[int, int, int]]:
    """Tag, count and first value of those entries of the first directory that are looked at."""
    order = "<" if head[:2] == b"II" else ">"
    entry, offset = struct.Struct(order + ("HHQ8s" if big else "HHI4s")), order + ("Q" if big else "I")
    try:
        stream.seek(struct.unpack_from(offset, head, 8 if big else 4)[0])
        (count,) = struct.unpack(order + ("Q" if big else "H"), stream.read(8 if big else 2))
        directory = stream.read(min(count, 2**16) * entry.size)
        for at in range(0, len(directory) - entry.size + 1, entry.size):
            tag, kind, number, value = entry.unpack_from(directory, at)
            if tag in _READ and kind in _NUMBERS and number:
                form = order + _NUMBERS[kind]
                if struct.calcsize(form) * number > len(value) and tag not in _PIECES:
                    stream.seek(struct.unpack(offset, value)[0])
                    value = stream.read(8)
                yield tag, number, 0 if tag in _PIECES else int(struct.unpack_from(form, value)[0])
    except (struct.error, OverflowError, ValueError, OSError):  # OSError: farther than any file of a disk is long
        return


def _too_much(expected: str, name: str) -> LimitError:
    return LimitError(
        f"{name}: expected a TIFF {expected}. Write it in larger pieces, or convert it.",
        code="too-much-work",
        source=name,
    )
