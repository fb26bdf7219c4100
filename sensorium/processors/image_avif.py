"""Looks into an AVIF before any decoder sees it: the sizes that its boxes tell of, and those of the coded pictures.

A decoder makes what is coded first, and scales it to what the boxes say.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from typing import IO

from sensorium.processors.limits import MediaLimits

_HEAD = 2**16  # bytes in which the boxes are
_MAX_LISTS = 8
_MAX_ITEMS = 1_000
_LOOKED_AT = 256  # bytes of each coded picture
_SEQUENCE = 1  # the kind of a unit that tells of the size
_BEFORE_IT = (2, 5, 15)  # kinds of those that may come first: a delimiter, metadata, padding


def check_avif(stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    """Refuse an AVIF whose pictures are larger than they may be, as told or as coded, or that has too many.

    What is damaged is left to the decoder.

    Raises:
        InputError: `zero-sized`.
        LimitError: `too-many-pixels`, `too-many-frames`.
    """
    # libavif's parser allocates nothing by size but has a limit of its own, which it reports as a damaged file.
    # Each picture in the file has an "ispe" box: 4 bytes of version and flags, then width and height.
    # A sequence's "stsz" box counts its frames: version and flags, their common size or 0, their number.
    head = stream.read(_HEAD)
    for box in re.finditer(rb"ispe\0\0\0\0(.{4})(.{4})", head, re.DOTALL):
        limits.check_size(int.from_bytes(box[1], "big"), int.from_bytes(box[2], "big"), name=name)
    for box in re.finditer(rb"stsz\0\0\0\0.{4}(.{4})", head, re.DOTALL):
        limits.check_frames(int.from_bytes(box[1], "big"), name=name)
    end = stream.seek(0, os.SEEK_END)
    for place in _places(head):
        if place >= end:
            continue
        stream.seek(place)
        size = _coded_size(stream.read(_LOOKED_AT))
        if size is not None:
            limits.check_size(*size, name=name)


def _places(head: bytes) -> Iterator[int]:
    """Where coded pictures begin: the items of "iloc" boxes, and the first chunk of each track."""
    for box in itertools.islice(re.finditer(b"iloc", head), _MAX_LISTS):
        yield from _items(head, box.end())
    for box in re.finditer(rb"stco\0\0\0\0.{4}(.{4})|co64\0\0\0\0.{4}(.{8})", head, re.DOTALL):
        yield int.from_bytes(box[1] or box[2], "big")


def _items(head: bytes, at: int) -> Iterator[int]:
    """The places of the first pieces of the items that an "iloc" box lists (ISO 14496-12, 8.11.3)."""
    box = _Bits(head[at:])
    version = box.take(8)
    box.take(24)
    offset, length, base, index = (8 * box.take(4) for _ in range(4))
    inner = head.find(b"idat") + 4
    for _ in range(min(box.take(16 if version < 2 else 32), _MAX_ITEMS)):
        box.take(16 if version < 2 else 32)
        within = box.take(16) & 15 == 1 if version else False
        box.take(16)
        start = box.take(base)
        pieces = box.take(16)
        if box.ended or not pieces:
            return
        box.take(index if version else 0)
        start += box.take(offset)
        box.take(length + (pieces - 1) * ((index if version else 0) + offset + length))
        yield start + (inner if within else 0)


def _coded_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of an AV1 sequence; None where none begins here."""
    at = 0
    for _ in range(4):
        if at + 2 > len(data):
            break
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        size = shift = 0
        while sized and at < len(data) and shift < 56:
            size |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                break
        if kind == _SEQUENCE:
            return _size_in(_Bits(data[at:]))
        if kind not in _BEFORE_IT or not sized:
            break
        at += size
    return None


def _size_in(header: _Bits) -> tuple[int, int] | None:
    """The largest width and height that a sequence header tells of (AV1, 5.5.1)."""
    header.take(4)  # profile, still picture
    if header.take(1):  # what is left out for a single picture
        header.take(5)
    else:
        delay = _timing(header)
        delayed = header.take(1)
        for _ in range(header.take(5) + 1):
            header.take(12)
            if header.take(5) > 7:  # level
                header.take(1)
            if delay and header.take(1):
                header.take(2 * delay + 1)
            if delayed and header.take(1):
                header.take(4)
    wide, high = header.take(4) + 1, header.take(4) + 1
    size = header.take(wide) + 1, header.take(high) + 1
    return None if header.ended else size


def _timing(header: _Bits) -> int:
    """Passes over the timing; the bits of a decoder's delays, 0 where none are told."""
    if not header.take(1):
        return 0
    header.take(64)
    if header.take(1):
        zeros = 0
        while not header.ended and not header.take(1):
            zeros += 1
        header.take(zeros)
    if not header.take(1):
        return 0
    delay = header.take(5) + 1
    header.take(42)
    return delay


class _Bits:
    """Bits of some bytes, from the first; zeros behind the end.

    Attributes:
        ended: whether some were asked for that are not there.
    """

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)
        self.ended = False

    def take(self, count: int) -> int:
        """The next bits as a number."""
        self.ended = self.ended or count > self._left
        self._left = max(0, self._left - count)
        return 0 if self.ended else self._value >> self._left & (1 << count) - 1
