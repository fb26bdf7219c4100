"""WAV, RF64, W64, AIFF and CAF: whether the header claims all samples that are there, and no others."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from sensorium.processors.audio_faults import corrupt, cut_off
from sensorium.processors.audio_mp3_frames import tag_length
from sensorium.processors.audio_sections import Section

_UNKNOWN_SIZES = {4: 0x7FFFF000, 8: 2**62}  # what a program writes that cannot go back to the header, or larger
_EXCESS = 44  # bytes: programs write the RIFF's size or the file's for the data's, which have a header more
_LEFT_OVER = 1024  # bytes behind the samples that may be anything
_SAMPLES = (b"data", b"SSND")  # the chunks that hold them
_FURTHER = (*_SAMPLES, b"RIFF", b"RF64", b"riff", b"FORM")  # what samples that are not heard may begin with
_FORMS = {  # of a chunk's head, and where the first one is
    "AIFF": (">4sI", 12),
    "CAF": (">4sq", 8),
    "W64": ("<16sQ", 40),
}
_MPEG = (b"\x50\0", b"\x55\0")  # how a WAV says that it holds MPEG audio: layers 1 and 2, and 3
_MAX_CHUNKS = 100_000
_PIECE = 2**20


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
        kind: "WAV", "RF64", "W64", "AIFF" or "CAF".
        start: where its first byte is.
        end: its length.
        name: of the sound, for an error.

    Raises:
        InputError: `truncated`, fewer samples than the header claims, by more than what headers err by; `corrupt`, more
            of them.
    """
    large = 0  # the size that RF64 keeps apart, and where
    large_at = 0
    for chunk in _chunks(stream, kind, start, end):
        if chunk.mark == b"ds64":
            stream.seek(chunk.begin)
            large_at = chunk.begin + 8
            large = struct.unpack("<8xQ", stream.read(16).ljust(16, b"\0"))[0]
        if chunk.mark not in _SAMPLES:
            continue
        width = 8 if kind in ("W64", "CAF") else 4
        claimed, size_at = chunk.size, chunk.size_at
        if kind == "RF64" and claimed == 0xFFFFFFFF and large_at:
            claimed, size_at, width = large, large_at, 8
        found = end - chunk.begin
        if found + 1 + _EXCESS < claimed < _UNKNOWN_SIZES[width]:  # the odd byte's padding may be missing, too
            raise cut_off(name)
        # which libsndfile knows in the other formats only
        endless = kind in ("RF64", "CAF") and claimed >= _UNKNOWN_SIZES[8]
        empty = claimed == 0 and kind != "AIFF" and not _is_chunks(stream, kind, chunk.begin, end)
        if found and (endless or empty):
            size = found + 24 * (kind == "W64")  # whose sizes count the chunk's own head
            order = ">" if kind == "CAF" else "<"
            patch = struct.pack(order + ("Q" if width == 8 else "I"), min(size, 256**width - 1))
            return Section(stream, [range(start, size_at), patch, range(size_at + width, end)])
        if claimed or kind != "AIFF":  # where none is known to libsndfile as no size
            _check_rest(stream, kind, chunk.begin + claimed, end, name)
        break
    return Section(stream, [range(start, end)])


def _check_rest(stream: IO[bytes], kind: str, position: int, end: int, name: str) -> None:
    """Refuses a file in which sound stands behind what its header tells of: something that is no chunk, tag or zero."""
    head = b""
    for _ in range(_MAX_CHUNKS):
        if end - position <= _LEFT_OVER:
            return
        stream.seek(position)
        head = stream.read(16)
        if head[:1] == b"\0":  # a chunk's padding among them, which some programs leave out
            head += stream.read(_PIECE)
            position += len(head) - len(head.lstrip(b"\0"))
            continue
        passed = tag_length(head) or _chunk_length(stream, kind, position, end)
        if not passed or head[:4] in _FURTHER:
            break
        position += passed
    raise corrupt(name, f"{end - position:,} bytes, beginning with {head[:4]!r}, stand behind what its header tells of")


def _chunk_length(stream: IO[bytes], kind: str, position: int, end: int) -> int:
    """Bytes of the chunk that stands here, or 0."""
    chunk = next(_chunks(stream, kind, position - _first(kind), end), None)
    if (
        chunk is None
        or chunk.begin + chunk.size > end + 1
        or not (chunk.mark.isascii() and chunk.mark.decode().isprintable())
    ):
        return 0
    return chunk.begin + chunk.size - position


def check_au(stream: IO[bytes], start: int, end: int, name: str) -> None:
    """Refuses an AU file with fewer samples than its header claims, or with more.

    Raises:
        InputError: `truncated`, `corrupt`.
    """
    stream.seek(start + 4)
    begin, size = struct.unpack(">II", stream.read(8).ljust(8, b"\xff"))
    if size >= _UNKNOWN_SIZES[4]:
        return
    if end - start < begin + size:
        raise cut_off(name)
    _check_rest(stream, "AU", start + begin + size, end, name)


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
    form, wide, padded = _FORMS.get(kind, ("<4sI", 12))[0], kind == "W64", kind != "CAF"
    head = struct.calcsize(form)
    position = start + _first(kind)
    for _ in range(_MAX_CHUNKS):
        if position + head > end:
            return
        stream.seek(position)
        mark, size = struct.unpack(form, stream.read(head))
        size = 2**63 if size < 0 else size  # CAF's word for what is not known
        content = max(0, size - head) if wide else size
        yield _RiffChunk(mark[:4], position + head - struct.calcsize(form[-1]), position + head, content)
        position += head + content + (-content % 8 if wide else content % 2 * padded)


def _first(kind: str) -> int:
    """Where the first chunk is."""
    return _FORMS.get(kind, ("<4sI", 12))[1]


def _is_chunks(stream: IO[bytes], kind: str, position: int, end: int) -> bool:
    """Whether what stands here is further chunks up to the end of the file, rather than samples."""
    last = None
    for last in _chunks(stream, kind, position - _first(kind), end):
        if not last.mark.strip(b" ").isalnum() or last.begin + last.size > end:
            return False
    return last is not None and end - (last.begin + last.size) < 8
