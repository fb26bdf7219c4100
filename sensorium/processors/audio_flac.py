"""FLAC: the streams that follow one another in a file, each of which counts its own samples only."""

from __future__ import annotations

from typing import IO

from sensorium.processors.audio_sections import Section

_HEADS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # the mark, and the head of the block that must follow it
_PIECE = 2**20


def flac_sections(stream: IO[bytes], start: int, end: int) -> list[Section]:
    """The streams of a file that was put together from several, one after another; nearly always one.

    Args:
        stream: of the file.
        start: where its mark is.
        end: its length.
    """
    begins = [start]
    position, kept = start + 8, b""
    stream.seek(position)
    while piece := stream.read(_PIECE):
        data = kept + piece
        base = position - len(kept)
        for head in _HEADS:
            found = data.find(head)
            while found >= 0:
                begins.append(base + found)
                found = data.find(head, found + 1)
        position += len(piece)
        kept = data[-7:]
    begins.sort()
    return [Section(stream, [range(begin, stop)]) for begin, stop in zip(begins, [*begins[1:], end], strict=True)]
