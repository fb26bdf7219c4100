"""WAV, RF64, W64 and AIFF: whether all samples are there that the header claims, and headers that claim none."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from sensorium.processors.audio_faults import cut_off
from sensorium.processors.audio_sections import Section

_UNKNOWN_SIZES = {4: 0x7FFFF000, 8: 2**62}  # what a program writes that cannot go back to the header, or larger
_EXCESS = 44  # bytes: programs write the RIFF's size or the file's for the data's, which have a header more
_MPEG = (b"\x50\0", b"\x55\0")  # how a WAV says that it holds MPEG audio: layers 1 and 2, and 3
_MAX_CHUNKS = 100_000


@dataclass
class _RiffChunk:
    """A part of the file: `mark`, size, content; `size_at` is where its size stands."""

    mark: bytes
    size_at: int
    begin: int
    size: int


def wav_section(stream: IO[bytes], kind: str, start: int, end: int, name: str) -> Section:
    """The file as the decoder is to see it.

    Args:
        stream: of the file.
        kind: "WAV", "RF64", "W64" or "AIFF".
        start: where its first byte is.
        end: its length.
        name: of the sound, for an error.

    Raises:
        InputError: `truncated`, fewer samples than the header claims, by more than what headers err by.
    """
    large = 0  # the size that RF64 keeps apart, and where
    large_at = 0
    for chunk in _chunks(stream, kind, start, end):
        if chunk.mark == b"ds64":
            stream.seek(chunk.begin)
            large_at = chunk.begin + 8
            large = struct.unpack("<8xQ", stream.read(16).ljust(16, b"\0"))[0]
        if chunk.mark not in (b"data", b"SSND"):
            continue
        width = 8 if kind == "W64" else 4
        claimed, size_at = chunk.size, chunk.size_at
        if kind == "RF64" and claimed == 0xFFFFFFFF and large_at:
            claimed, size_at, width = large, large_at, 8
        found = end - chunk.begin
        if found + 1 + _EXCESS < claimed < _UNKNOWN_SIZES[width]:  # the odd byte's padding may be missing, too
            raise cut_off(name)
        endless = kind == "RF64" and claimed >= _UNKNOWN_SIZES[8]  # which libsndfile knows in the other formats only
        empty = claimed == 0 and kind != "AIFF" and not _is_chunks(stream, kind, chunk.begin, end)
        if found and (endless or empty):
            size = found + 24 * (kind == "W64")  # whose sizes count the chunk's own head
            patch = struct.pack("<Q" if width == 8 else "<I", min(size, 256**width - 1))
            return Section(stream, [range(start, size_at), patch, range(size_at + width, end)])
        break
    return Section(stream, [range(start, end)])


def check_au(stream: IO[bytes], start: int, end: int, name: str) -> None:
    """Refuses an AU file with fewer samples than its header claims.

    Raises:
        InputError: `truncated`.
    """
    stream.seek(start + 4)
    begin, size = struct.unpack(">II", stream.read(8).ljust(8, b"\xff"))
    if end - start < begin + size and size < _UNKNOWN_SIZES[4]:
        raise cut_off(name)


def mpeg_start(stream: IO[bytes], start: int, end: int) -> int | None:
    """Where the MPEG audio begins that a WAV holds instead of samples; None for any other."""
    inside = False
    for chunk in _chunks(stream, "WAV", start, end):
        if chunk.mark == b"fmt ":
            stream.seek(chunk.begin)
            inside = stream.read(2) in _MPEG
        if chunk.mark == b"data":
            return chunk.begin if inside else None
    return None


def _chunks(stream: IO[bytes], kind: str, start: int, end: int) -> Iterator[_RiffChunk]:
    """The chunks, in order, for as long as they make sense."""
    wide = kind == "W64"
    form, head = ("<16sQ", 24) if wide else (">4sI" if kind == "AIFF" else "<4sI", 8)
    position = start + (40 if wide else 12)
    for _ in range(_MAX_CHUNKS):
        if position + head > end:
            return
        stream.seek(position)
        mark, size = struct.unpack(form, stream.read(head))
        content = max(0, size - head) if wide else size
        yield _RiffChunk(mark[:4], position + head - (8 if wide else 4), position + head, content)
        position += head + content + (-content % 8 if wide else content % 2)


def _is_chunks(stream: IO[bytes], kind: str, position: int, end: int) -> bool:
    """Whether what stands here is further chunks up to the end of the file, rather than samples."""
    offset = 40 if kind == "W64" else 12
    last = None
    for last in _chunks(stream, kind, position - offset, end):
        if not last.mark.strip(b" ").isalnum() or last.begin + last.size > end:
            return False
    return last is not None and end - (last.begin + last.size) < 8
