"""Looks into a JPEG before any decoder sees it: its size, its kind, and what decoding it will take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from sensorium.errors import LimitError
from sensorium.processors.limits import MediaLimits

MAX_SCANS = 1_000
MAX_SCANNED = 5_000_000_000
"""Pixels times scans: each scan goes through all pixels, however few bytes it has."""
_MAX_SEGMENTS = 10_000
_MAX_JUNK = 2**16  # bytes between segments
_SIZES = frozenset([*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)])
_BARE = frozenset([0x01, *range(0xD0, 0xD9)])  # markers without a length
# Quantisation, Huffman and restart tables, comments, and application data other than APP1 (EXIF, XMP).
_PLAIN = frozenset([0xDB, 0xC4, 0xDD, 0xFE, 0xE0, *range(0xE2, 0xF0)])


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """A JPEG that needs nothing of Pillow's reader: 8-bit, grey or three channels, no metadata.

    Attributes:
        width: in px.
        height: in px.
        channels: 1 or 3.
        one_scan: whether decoders take its first scan for the whole of it.
    """

    width: int
    height: int
    channels: int
    one_scan: bool


def plain_jpeg(head: bytes | memoryview) -> PlainJpeg | None:
    """Read the header of a plain JPEG.

    Args:
        head: its first bytes, up to the first scan.

    Returns:
        None where there is EXIF, XMP or a second picture, or anything out of the ordinary.
    """
    frame, position = b"", 2
    for _ in range(64):  # segments; a plain file has about ten
        segment = head[position : position + 10]
        if len(segment) < 10 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker == 0xDA:  # the pixels start
            if not frame:
                return None
            one_scan = frame[1] != 0xC2 and segment[4] >= frame[9]
            return PlainJpeg(frame[7] << 8 | frame[8], frame[5] << 8 | frame[6], frame[9], one_scan)
        if marker in (0xC0, 0xC1, 0xC2) and not frame:  # baseline, extended, progressive
            if segment[4] != 8 or segment[9] not in (1, 3):
                return None
            frame = bytes(segment)
        elif marker not in _PLAIN or (marker == 0xE2 and segment[4:8] == b"MPF\0"):
            return None
        position += 2 + (segment[2] << 8 | segment[3])
    return None


def is_whole_baseline_jpeg(data: bytes | memoryview) -> bool:
    """Whether a JPEG is one that all decoders read alike: baseline, grey or YCbCr, with its end.

    Args:
        data: all of its bytes.
    """
    position = 2
    if bytes(data[-2:]) != b"\xff\xd9":
        return False
    for _ in range(256):  # segments; a photograph has about twenty
        segment = data[position : position + 19]
        if len(segment) < 19 or segment[0] != 0xFF:
            return False
        marker = segment[1]
        if marker == 0xC0:
            # other numbers of the components may be those of R, G and B
            numbers = bytes(segment[10:19:3]) if segment[9] == 3 else b"\1\2\3"
            return segment[4] == 8 and segment[9] in (1, 3) and numbers == b"\1\2\3"
        if marker == 0xEE and bytes(segment[4:9]) == b"Adobe" and segment[15] != 1:
            return False  # its colours are not YCbCr
        if 0xC1 <= marker <= 0xCF and marker != 0xC4:
            return False  # progressive, lossless, …
        position += 2 + (segment[2] << 8 | segment[3])
    return False


def check_scans(stream: IO[bytes], width: int, height: int, *, name: str) -> None:
    """Refuse a JPEG whose pixels are gone through too often.

    Raises:
        LimitError: `too-much-work`.
    """
    stream.seek(0)
    scans = stream.read().count(b"\xff\xda")  # within a scan 0xFF is followed by 0, or by a restart's number
    most = max(1, min(MAX_SCANS, MAX_SCANNED // max(1, width * height)))
    if scans > most:
        raise LimitError(
            f"{name}: expected a JPEG of {width}x{height} px in at most {most:,} scans, got {scans:,}. Convert it to "
            f"one that is not progressive.",
            code="too-much-work",
            source=name,
        )


def check_jpeg(stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    """Refuse a JPEG whose header, or whose scans, take out of proportion to its pixels.

    What is damaged is left to the decoder.

    Raises:
        InputError: `zero-sized`.
        LimitError: `too-many-pixels`, `too-much-work`.
    """
    data = stream.read(2**20)
    position, junk, size, channels, progressive = 2, 0, (0, 0), 0, True
    for _ in range(_MAX_SEGMENTS):
        if position + 2 * _MAX_JUNK > len(data):
            data += stream.read()
        start = data.find(b"\xff", position, position + _MAX_JUNK + 1)
        if start < 0:
            if len(data) - position <= _MAX_JUNK:
                return  # cut off: the decoder will say so
            break
        while data[start + 1 : start + 2] == b"\xff" and junk <= _MAX_JUNK:
            start, junk = start + 1, junk + 1
        junk += start - position
        segment = data[start : start + 10]
        if junk > _MAX_JUNK:
            break
        if len(segment) < 10:
            return
        marker = segment[1]
        if marker in _SIZES:
            size, channels = (segment[7] << 8 | segment[8], segment[5] << 8 | segment[6]), segment[9]
            progressive = marker not in (0xC0, 0xC1)
            limits.check_size(*size, name=name)
        elif marker == 0xDA:
            if progressive or segment[4] < channels:
                check_scans(stream, *size, name=name)
            return
        bare = marker in _BARE or marker == 0
        position = start + 2 + (0 if bare else segment[2] << 8 | segment[3])
    raise LimitError(
        f"{name}: expected a JPEG whose header has at most {_MAX_SEGMENTS:,} parts, with {_MAX_JUNK:,} bytes between "
        f"them, got more. Write it again.",
        code="too-much-work",
        source=name,
    )
