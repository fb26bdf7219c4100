"""What a film's bytes tell before a decoder sees it: its format, and whether the file was cut off."""

from __future__ import annotations

import os
from typing import IO

from sensorium.errors import InputError, LimitError
from sensorium.processors.limits import MediaLimits
from sensorium.processors.video_faults import cut_off

DEMUXERS = {
    "ASF": "asf",
    "AVI": "avi",
    "FLV": "flv",
    "GIF": "gif",
    "MKV": "matroska",
    "MP4": "mp4",
    "MPEG": "mpeg",
    "OGG": "ogg",
    "TS": "mpegts",
}
"""FFmpeg's name for what reads a format: it is told which, and never looks for one that opens other files."""

_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"))
_STILL_BRANDS = frozenset((b"avif", b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis", b"crx ", b"M4A ", b"M4B "))
_FOREIGN = (  # what is no film: (offset, bytes), a name, what to do
    (0, b"\xff\xd8\xff", "a picture (JPEG)", "Give it to a task for pictures, or pass a list of frames"),
    (0, b"\x89PNG", "a picture (PNG)", "Give it to a task for pictures, or pass a list of frames"),
    (8, b"WEBP", "a picture (WebP)", "Give it to a task for pictures, or pass a list of frames"),
    (8, b"WAVE", "a sound (WAV)", "Give it to a task for sounds"),
    (0, b"fLaC", "a sound (FLAC)", "Give it to a task for sounds"),
    (0, b"ID3", "a sound (MP3)", "Give it to a task for sounds"),
    (0, b"#EXTM3U", "a playlist", "Pass the film itself; what other files name is never opened"),
    (0, b"ffconcat", "a list of films", "Pass the films themselves; what other files name is never opened"),
)
_SEGMENT = b"\x18\x53\x80\x67"
_MOST_BOXES = 1_000_000


def sniff(stream: IO[bytes], *, name: str, limits: MediaLimits) -> str:
    """Tell a film's format by its first bytes.

    Raises:
        InputError: `not-a-film`.
        LimitError: `format-not-allowed`, a format outside `MediaLimits.video_formats`.
    """
    stream.seek(0)
    head = stream.read(1024)
    kind = _kind(head)
    allowed = ", ".join(limits.video_formats)
    if kind is None:
        raise _unknown(head, allowed, name)
    if kind not in limits.video_formats:
        raise LimitError(
            f"{name}: expected one of {allowed}, got what begins like {kind}. Convert it, or add {kind!r} to "
            f"MediaLimits.video_formats if you trust it.",
            code="format-not-allowed",
            source=name,
        )
    return kind


def check_whole(stream: IO[bytes], kind: str, *, name: str) -> None:
    """Refuse a file that ends before its own structure says, where its format tells.

    Raises:
        InputError: `truncated`.
    """
    size = stream.seek(0, os.SEEK_END)
    if kind == "MP4":
        whole = _whole_boxes(stream, size)
    elif kind == "MKV":
        whole = _segment_end(stream) <= size
    elif kind == "AVI":
        stream.seek(4)
        told = int.from_bytes(stream.read(4), "little")  # 0 of a recorder that was never stopped
        whole = told in (0, 0xFFFFFFFF) or 8 + told <= size
    elif kind == "GIF":
        stream.seek(max(0, size - 256))
        whole = stream.read().rstrip(b"\0\r\n ").endswith(b";")
    else:
        whole = True  # made to be cut anywhere
    if not whole:
        raise cut_off(name)


def _kind(head: bytes) -> str | None:
    if head[4:8] in _BOXES:
        return None if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS else "MP4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "MKV"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11":
        return "ASF"
    if head[:4] == b"FLV\x01":
        return "FLV"
    if head[:4] == b"\0\0\x01\xba":
        return "MPEG"
    if head[:4] == b"OggS":
        return "OGG"
    return "TS" if _is_transport(head) else None


def _is_transport(head: bytes) -> bool:
    """Whether there is a byte of synchronisation where each packet begins: every 188, or with a time before it 192."""
    return any(len(head) > at + 3 * step and set(head[at::step]) == {0x47} for at, step in ((0, 188), (4, 192)))


def _whole_boxes(stream: IO[bytes], size: int) -> bool:
    """Whether the boxes at the top of an MP4 end where the file does, the one that describes it among them."""
    place, described = 0, False
    for _ in range(_MOST_BOXES):
        if place + 8 > size:
            break
        stream.seek(place)
        head = stream.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        described = described or kind == b"moov"
        if length == 0:  # until the end
            return described
        if length < 8:
            return True  # no box: for the decoder to judge
        place += length
    return described and place <= size


def _segment_end(stream: IO[bytes]) -> int:
    """Where a Matroska file ends by its own account; 0 where it does not tell, as of one written while recording."""
    stream.seek(0)
    head = stream.read(4096)
    length, taken = _sized(head, 4)
    place = 4 + taken + (length or 0)
    if head[place : place + 4] != _SEGMENT:
        return 0
    length, taken = _sized(head, place + 4)
    return 0 if length is None else place + 4 + taken + length


def _sized(head: bytes, place: int) -> tuple[int | None, int]:
    """A number of EBML's, None for one that is unknown, and how many bytes it takes."""
    first = head[place] if place < len(head) else 0
    taken = 9 - first.bit_length()
    if taken > 8:
        return None, 1
    number = int.from_bytes(head[place : place + taken], "big") & ((1 << 7 * taken) - 1)
    return (None if number == (1 << 7 * taken) - 1 else number), taken


def _unknown(head: bytes, allowed: str, name: str) -> InputError:
    expected = f"{name}: expected a film ({allowed}), got"
    for at, mark, what, advice in _FOREIGN:
        if head[at : at + len(mark)] == mark:
            return InputError(f"{expected} {what}. {advice}.", code="not-a-film", source=name)
    message = f"{expected} something that starts with {head[:16]!r}. Check that the file is what its name says, or"
    return InputError(f"{message} convert it, as with ffmpeg -i IN OUT.mp4.", code="not-a-film", source=name)
