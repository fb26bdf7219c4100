"""Ogg: the pages of a file, and the streams that follow one another in it."""

from __future__ import annotations

from typing import IO

from sensorium.processors.audio_faults import check_sections, corrupt, cut_off
from sensorium.processors.audio_sections import Section

_FIRST, _LAST = 2, 4  # flags of a page
_HEAD = 27
_NO_END = b"\xff" * 8  # in place of a number, where no packet ends on a page
_MAX_PAGES = 3_000_000  # 16 h at one packet of 20 ms each
_PIECE = 2**9
_LOST = 2**17  # bytes without a page after which what follows is none: two of the largest


def ogg_sections(stream: IO[bytes], start: int, end: int, name: str) -> list[Section]:
    """The streams of a chained file, one after another; nearly always one.

    Args:
        stream: of the file.
        start: where its first page is.
        end: its length.
        name: of the sound, for an error.

    Raises:
        InputError: `truncated`, a stream without its last page, or with less than all of it; `corrupt`, too many pages
            or streams, or a last page that does not tell where the stream ends.
    """
    begins: list[int] = []
    first = last = False  # of the page before
    position = page = start
    pages = 0
    while position + _HEAD <= end:
        pages += 1
        if pages > _MAX_PAGES:
            raise corrupt(name, f"it has more than {_MAX_PAGES:,} pages")
        stream.seek(position)
        head = stream.read(_HEAD + 255)
        if head[:4] != b"OggS":
            found = _next_page(stream, position, end)
            # what lies between may be a tag; where a page was cut off, it reaches into what follows
            if (begins and not last) or _next_page(stream, page + 1, position) is not None:
                raise cut_off(name)
            if found is None:
                break
            position = found
            continue
        page = position
        flags, lacing = head[5], head[_HEAD : _HEAD + head[26]]
        stop = position + _HEAD + head[26] + sum(lacing)
        if len(lacing) < head[26] or stop > end:
            raise cut_off(name)
        if flags & _LAST and head[6:14] == _NO_END and lacing and min(lacing) < 255:
            raise corrupt(name, "its last page does not tell where it ends")
        if flags & _FIRST and not first:  # first pages of several streams at once stand side by side
            if begins and not last:
                raise cut_off(name)
            begins.append(position)
            check_sections(len(begins), name)
            last = False
        if not begins:
            raise corrupt(name, "it does not begin with the first page of a stream")
        first, last = bool(flags & _FIRST), last or bool(flags & _LAST)
        position = stop
    stream.seek(position)
    if not last or (end - position < _HEAD and stream.read(4) == b"OggS"):
        raise cut_off(name)
    stops = [*begins[1:], end]
    return [Section(stream, [range(begin, stop)]) for begin, stop in zip(begins, stops, strict=True)]


def _next_page(stream: IO[bytes], position: int, end: int) -> int | None:
    """It is looked for in small pieces, as it is near, mostly: it may have to be looked for very often."""
    kept, stop = b"", min(end, position + _LOST)
    stream.seek(position)
    while position < stop and (piece := stream.read(min(_PIECE, stop - position))):
        data = kept + piece
        found = data.find(b"OggS")
        if found >= 0:
            return position - len(kept) + found
        position, kept = position + len(piece), data[-3:]
    return None
