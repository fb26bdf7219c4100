"""What a sound file's first and last bytes tell, before a decoder sees it: its format, and whether it was cut off."""

from __future__ import annotations

import os
import struct
from typing import IO

from sensorium.errors import InputError, LimitError
from sensorium.processors.limits import MediaLimits

MP3_SLACK = 4608
"""Samples that encoders' counts and the decoder's may differ by: four frames."""

_UNKNOWN_SIZE = 0x7FFFF000  # what a program writes into a WAV header that cannot go back to it, or larger
_MAGIC = {  # format: (offset, bytes) pairs that all have to be there
    "WAV": ((0, b"RIFF"), (8, b"WAVE")),
    "RF64": ((0, b"RF64"), (8, b"WAVE")),
    "FLAC": ((0, b"fLaC"),),
    "OGG": ((0, b"OggS"),),
    "AU": ((0, b".snd"),),
    "CAF": ((0, b"caff"),),
}


def sniff(stream: IO[bytes], *, name: str, limits: MediaLimits) -> str:
    """Tell a sound's format by its first bytes.

    Raises:
        InputError: `not-a-sound`.
        LimitError: `format-not-allowed`, a format outside `MediaLimits.sound_formats`.
    """
    stream.seek(0)
    head = stream.read(16)
    kind = _kind(head)
    allowed = ", ".join(limits.sound_formats)
    if kind is None:
        raise InputError(
            f"{name}: expected a sound ({allowed}), got something that starts with {head!r}. Check that the file is "
            f"what its name says, or convert it.",
            code="not-a-sound",
            source=name,
        )
    if kind not in limits.sound_formats:
        raise LimitError(
            f"{name}: expected one of {allowed}, got what begins like {kind}. Convert it, or add {kind!r} to "
            f"MediaLimits.sound_formats if you trust it.",
            code="format-not-allowed",
            source=name,
        )
    return kind


def is_cut_off(stream: IO[bytes], kind: str) -> bool:
    """Whether the file is shorter than its own header says (WAV, AIFF), or its last page is missing (Ogg).

    Of the other formats the decoder finds that out.
    """
    size = stream.seek(0, os.SEEK_END)
    if kind == "OGG":
        return _lacks_last_page(stream, size)
    if kind in ("WAV", "AIFF"):
        return _lacks_samples(stream, size, order="<" if kind == "WAV" else ">")
    return False


def counts_frames(stream: IO[bytes], kind: str) -> bool:
    """Whether the header says how long the sound is; an MP3's need not, and then its length is a guess."""
    if kind != "MP3":
        return True
    stream.seek(0)
    head = stream.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:  # four bytes of seven bits each
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    stream.seek(start)
    frame = stream.read(1024)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def _kind(head: bytes) -> str | None:
    for kind, marks in _MAGIC.items():
        if all(head[at : at + len(mark)] == mark for at, mark in marks):
            return kind
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    # an ID3 tag, or a frame's eleven set bits with a layer that is not the reserved one
    if head[:3] == b"ID3" or (len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06):
        return "MP3"
    return None


def _lacks_samples(stream: IO[bytes], size: int, *, order: str) -> bool:
    position = 12
    while position + 8 <= size:
        stream.seek(position)
        mark, length = struct.unpack(f"{order}4sI", stream.read(8))
        if mark in (b"data", b"SSND"):
            return bool(0 < length < _UNKNOWN_SIZE and position + 8 + length > size + 1)  # the odd byte's padding
        position += 8 + length + length % 2
    return False  # no samples at all, which the decoder tells


def _lacks_last_page(stream: IO[bytes], size: int) -> bool:
    tail = min(size, 2**17)  # two pages of the largest size
    stream.seek(size - tail)
    data = stream.read(tail)
    last = data.rfind(b"OggS")
    return last < 0 or last + 5 >= len(data) or not data[last + 5] & 4
