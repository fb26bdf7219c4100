"""FLAC: the streams that follow one another in a file, each of which counts its own samples only."""

from __future__ import annotations

import functools
from typing import IO

from sensorium.processors.audio_faults import check_sections
from sensorium.processors.audio_sections import Section

_HEADS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # the mark, and the head of the block that must follow it
_PIECE = 2**20
_LAST = 2**18  # bytes that the last frame is looked for in
_CHECKED = 3  # frames whose checksum is made
_DEPTHS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}  # bits a sample, by their code; 0 is the header's


def flac_sections(stream: IO[bytes], start: int, end: int, name: str) -> list[Section]:
    """The streams of a file that was put together from several, one after another; nearly always one.

    Args:
        stream: of the file.
        start: where its mark is.
        end: its length.
        name: of the sound, for an error.

    Raises:
        InputError: `corrupt`, too many of them.
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
                check_sections(len(begins), name)
                found = data.find(head, found + 1)
        position += len(piece)
        kept = data[-7:]
    begins.sort()
    return [Section(stream, [range(begin, stop)]) for begin, stop in zip(begins, [*begins[1:], end], strict=True)]


def true_length(section: Section) -> tuple[int, int] | None:
    """How many samples a channel a stream has, and its rate, by the number in the head of its last frame.

    Its header may say less, which decoders believe, or nothing, after which all has to be decoded to know.

    Args:
        section: of the stream; it is left anywhere.

    Returns:
        None where no last frame is found, as in one that was cut off.
    """
    section.seek(0)
    head = section.read(42)
    if len(head) < 42 or head[:4] != b"fLaC":
        return None
    fixed, packed = int.from_bytes(head[8:10], "big"), int.from_bytes(head[18:22], "big")
    rate, depth = packed >> 12, (packed >> 4 & 31) + 1
    section.seek(max(0, section.size - _LAST))
    tail = section.read(_LAST)
    at, checked = len(tail), 0
    ends: dict[int, int] = {}
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        found = _extent(tail[at : at + 16], fixed, depth) if tail[at + 1 : at + 2] in (b"\xf8", b"\xf9") else None
        if found is None:
            continue
        start, end = found
        if end in ends:  # one frame follows on another: neither is there by chance
            return ends[end], rate
        checked += 1
        if checked <= _CHECKED and _is_whole(tail[at:]):
            return end, rate
        ends[start] = end
    return None


def _extent(head: bytes, fixed: int, depth: int) -> tuple[int, int] | None:
    """The numbers of the first sample of a frame and of the one behind it; None for what is no head of a frame."""
    if len(head) < 6 or head[3] & 1 or head[3] >> 4 > 10 or head[2] & 15 == 15:
        return None
    if _DEPTHS.get(head[3] >> 1 & 7, depth) != depth:
        return None
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    if ones in (1, 8):
        return None
    number, at = head[4] & (0x7F >> ones), 5
    for byte in head[5 : 5 + max(0, ones - 1)]:
        number, at = number << 6 | byte & 0x3F, at + 1
    code = head[2] >> 4
    wide = {6: 1, 7: 2}.get(code, 0)
    size = int.from_bytes(head[at : at + wide], "big") + 1 if wide else _block_size(code)
    at += wide + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if not size or at >= len(head) or _crc(head[:at], 8, 0x07) != head[at]:
        return None
    start = number if head[1] & 1 else number * fixed
    return start, start + size


def _block_size(code: int) -> int:
    return 192 if code == 1 else 576 << code - 2 if 2 <= code <= 5 else 1 << code if code >= 8 else 0


def _is_whole(frame: bytes) -> bool:
    """Whether a frame ends with its checksum, as it does where nothing stands behind it."""
    return _crc(frame[:-2], 16, 0x8005) == int.from_bytes(frame[-2:], "big")


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    mask, value = (1 << bits) - 1, 0
    table = _crc_table(bits, polynomial)
    for byte in data:
        value = (value << 8 ^ table[(value >> bits - 8) ^ byte]) & mask
    return value


@functools.cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    top, table = 1 << bits - 1, []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial) if value & top else value << 1
        table.append(value & ((1 << bits) - 1))
    return table
