"""MPEG audio: the frames of a file, and nothing of what stands before, between and after them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import IO, NamedTuple

_PIECE = 2**20
_MAX_MISSES = 2**18
_LONGEST = 2**12  # bytes, above those of any frame
_MARK = re.compile(rb"\xff|ID3|APETAGEX|TAG")
"""What may begin a frame or a tag."""
_BITRATES = {  # kbit/s by the index in a header: (of MPEG 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by MPEG's version


class MpegLayout(NamedTuple):
    """What all frames of one stream have in common."""

    version: int  # as in the header: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
    layer: int
    rate: int
    mono: bool


class MpegFrame(NamedTuple):
    """One frame: where it stands, and the first of its bytes that an encoder's own header may be in."""

    position: int
    length: int
    layout: MpegLayout
    head: bytes  # 40 bytes


@functools.cache
def parsed(first: int, second: int, third: int) -> tuple[int, MpegLayout] | None:
    """Bytes and layout of the frame whose header goes on like this after 0xFF; None for none, or one of free size."""
    version, layer = first >> 3 & 3, 4 - (first >> 1 & 3)
    index, rate_index = second >> 4, second >> 2 & 3
    if first & 0xE0 != 0xE0 or version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return None
    rate = _RATES[version][rate_index]
    bits, padding = _BITRATES[version == 3, layer][index - 1] * 1000, second >> 1 & 1
    if layer == 1:
        length = (12 * bits // rate + padding) * 4
    else:
        length = (72 if layer == 3 and version != 3 else 144) * bits // rate + padding
    return length, MpegLayout(version, layer, rate, third >> 6 == 3)


def tag_length(head: bytes) -> int:
    """Bytes of the tag (ID3, APE, an ID3 at the end) that begins with these 16, or 0."""
    if head[:3] == b"ID3" and len(head) >= 10 and not any(byte & 0x80 for byte in head[6:10]):
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return 10 + size + (10 if head[5] & 0x10 else 0)  # a footer
    if head[:8] == b"APETAGEX" and len(head) >= 16:
        return 32 + int.from_bytes(head[12:16], "little")
    return 128 if head[:3] == b"TAG" else 0


def frames(stream: IO[bytes], start: int, end: int) -> Iterator[MpegFrame]:
    """Go through the frames of a file. What is no frame is passed over, as decoders do.

    Args:
        stream: of the file.
        start: where to begin.
        end: its length.

    Raises:
        ValueError: so much of it is no sound that the search would take too long.
    """
    window = _BytesAt(stream, end)
    position, last = start, None
    while position + 4 <= end:
        head = window.at(position, 40)
        found = parsed(*head[1:4]) if head[0] == 0xFF else None
        if found is not None and ((last and found[1] == last.layout) or _confirmed(window, position, *found, end)):
            if last is not None:
                yield last
            last = MpegFrame(position, *found, head)
            position += last.length
        elif last is not None:
            inner = _frame_within(window, last, end)
            if inner is None:
                yield last
            else:  # the file broke off in that frame, and another was put behind it
                position = inner
            last = None
        else:
            window.count_miss()
            position = _next(window, position + (tag_length(head) or 1), end)
    if last is not None and position <= end:  # else it is not whole
        yield last


def _frame_within(window: _BytesAt, frame: MpegFrame, end: int) -> int | None:
    """Where, within the bytes of a frame, another one begins that others follow."""
    position = _next(window, frame.position + 1, end)
    while position < frame.position + frame.length:
        head = window.at(position, 4)
        found = parsed(*head[1:4]) if head[0] == 0xFF and len(head) == 4 else None
        window.count_miss()
        if found is not None and _confirmed(window, position, *found, end, strict=True):
            return position
        position = _next(window, position + 1, end)
    return None


def _confirmed(
    window: _BytesAt, position: int, length: int, layout: MpegLayout, end: int, *, strict: bool = False
) -> bool:
    """Whether two more frames of the layout follow, so that it is not by chance that this looks like one.

    Unless it is strict, the end of the file or a tag counts as well.
    """
    for _ in range(2):
        position += length
        if position + 4 > end:
            return position == end and not strict
        head = window.at(position, 4)
        if head[:3] in (b"ID3", b"TAG", b"APE"):
            return not strict
        following = parsed(*head[1:4]) if head[0] == 0xFF else None
        if following is None or following[1] != layout:
            return False
        length = following[0]
    return True


def _next(window: _BytesAt, position: int, end: int) -> int:
    """Where the next 0xFF or tag is, or the end."""
    while position < end:
        data = window.at(position, _LONGEST)
        mark = _MARK.search(data)
        if mark is not None:
            return position + mark.start()
        position += max(1, len(data) - 8)  # one that begins at the end is found next time
    return end


class _BytesAt:
    """Bytes at a position, of which a piece is held."""

    def __init__(self, stream: IO[bytes], end: int) -> None:
        self._stream, self._end = stream, end
        self._data, self._begin = b"", 0
        self._misses = 0

    def at(self, position: int, count: int) -> bytes:
        """`count` bytes, fewer at the end."""
        offset = position - self._begin
        if offset < 0 or offset + count > len(self._data):
            self._stream.seek(position)
            self._data, self._begin, offset = self._stream.read(_PIECE), position, 0
        return self._data[offset : offset + count]

    def count_miss(self) -> None:
        """Counts a place where a frame could have begun and did not; there are few in a sound."""
        self._misses += 1
        if self._misses > _MAX_MISSES:
            raise ValueError("there is too much in it that is no sound")
