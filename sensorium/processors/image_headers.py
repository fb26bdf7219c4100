"""Looks into containers before any decoder sees them.

Pillow reads these formats' headers at a cost that an attacker chooses: it walks a GIF's blocks one by one in
Python, and the WebP decoder allocates two canvases when it is created. So size and frames are read here first,
in bounded time and without an allocation that depends on what the file claims. All other formats declare their
size in a header that Pillow reads without decoding. A size does not tell everything, though: PNG, JPEG (`image_jpeg`),
TIFF (`image_tiff`) and AVIF (`image_avif`) can hold parts, passes, tiles or pictures out of all proportion to it, and
what is text (`image_text`) comments and blanks.
"""

from __future__ import annotations

from typing import IO

from PIL import Image

from sensorium.errors import InputError, LimitError
from sensorium.processors.image_avif import check_avif
from sensorium.processors.image_jpeg import check_jpeg
from sensorium.processors.image_text import check_ppm, check_xpm
from sensorium.processors.image_tiff import check_tiff
from sensorium.processors.limits import MediaLimits

MAX_BLOCKS = 1_000_000  # of one file, all kinds: 256 MiB of a GIF's full-length data blocks
MAX_CHUNKS = 100_000  # of a PNG, whose data is in chunks of 8 KiB or more
MAX_SLOW_BYTES = 16 * 2**20  # a megabyte takes up to a second
_FRAME, _EXTENSION, _END = b",!;"  # what a GIF's parts begin with
_PIECE = 1 << 16  # bytes of a GIF that are read at once
_LONGEST = 1024  # above the length of any one part of a GIF: a frame's head with its palette has 779 bytes


def check_container(kind: str, stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    """Refuse a picture whose canvas, frames, or work beyond what its pixels take, is above the limits.

    Args:
        kind: Pillow's name of the format. Anything but AVIF, GIF, JPEG, PNG, PPM, TIFF, WEBP and XPM passes.
        stream: a seekable binary stream; it is read from its start, and left anywhere.
        name: what to call the input in an error.
        limits: the bounds to keep.

    Raises:
        InputError: `zero-sized`, or `truncated` where a WebP is shorter than it says.
        LimitError: `too-many-pixels`, `too-many-frames` or `too-much-work`.
    """
    check = _CHECKS.get(kind)
    if check is not None:
        stream.seek(0)
        check(stream, name=name, limits=limits)


def check_decoder(image: Image.Image, stream: IO[bytes], *, name: str) -> None:
    """Refuse a large file whose decoder Pillow has in Python only: RLE in BMP, PPM as text, or of an odd depth.

    Args:
        image: as opened, not loaded.
        stream: of its file.
        name: what to call the input in an error.

    Raises:
        LimitError: `too-much-work`.
    """
    tiles = getattr(image, "tile", None)
    if tiles and tiles[0][0] in Image.DECODERS and (size := stream.seek(0, 2)) > MAX_SLOW_BYTES:
        raise LimitError(
            f"{name}: expected at most {MAX_SLOW_BYTES:,} bytes of a {image.format} of this kind, which is decoded "
            f"slowly ({tiles[0][0]}), got {size:,}. Convert it, to PNG for example.",
            code="too-much-work",
            source=name,
        )


def _check_png(stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    """Counts the chunks, each of which Pillow reads in Python, and most of which it keeps."""
    stream.seek(8)
    for _ in range(MAX_CHUNKS):
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        stream.seek(int.from_bytes(head[:4], "big") + 4, 1)
    raise LimitError(
        f"{name}: expected a PNG of at most {MAX_CHUNKS:,} chunks, got more. Write it again.",
        code="too-much-work",
        source=name,
    )


def _check_gif(stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    """Goes from part to part in memory, a piece of the file at a time: to read each of them would take far longer.

    What is not a part is passed over byte by byte, as Pillow does.
    """
    data = stream.read(_PIECE)
    canvas, at = (_int(data[6:8]), _int(data[8:10])), 13 + _palette_bytes(data[10:11])
    frames, in_data, whole = 0, False, len(data) - _LONGEST
    for _ in range(MAX_BLOCKS):
        if at > whole:  # the part that begins here may not be there to its end
            data, at = data[at:] + stream.read(_PIECE), 0
            whole = len(data) - _LONGEST
            if not data:
                return  # cut off: the decoder will say so
        part = data[at]
        if in_data:  # of which each block begins with its length, and the last one has none
            in_data = part > 0
            at += 1 + part
        elif part == _FRAME:
            frames += 1
            if frames == 1:
                _check_gif_size(canvas, data[at + 1 : at + 9], name=name, limits=limits)
            if frames > limits.max_frames:
                limits.check_frames(frames, name=name)
            at += 11 + _palette_bytes(data[at + 9 : at + 10])  # the last of the 11 is the size of an LZW code
            in_data = True
        elif part == _EXTENSION:
            at += 2
            in_data = True
        elif part == _END:
            return
        else:
            at += 1
    raise _too_many_blocks(name)


def _check_gif_size(canvas: tuple[int, int], box: bytes, *, name: str, limits: MediaLimits) -> None:
    """Checks the canvas, which Pillow grows to hold the first frame."""
    width = max(canvas[0], _int(box[0:2]) + _int(box[4:6]))
    height = max(canvas[1], _int(box[2:4]) + _int(box[6:8]))
    limits.check_size(width, height, name=name)
    # Pillow applies its own bound to a GIF's frames while it decodes, and its bound is global: we leave it alone.
    bound = Image.MAX_IMAGE_PIXELS
    if bound is not None and width * height > bound:
        raise LimitError(
            f"{name}: expected a GIF of at most {bound:,} pixels (Pillow's bound for GIF, whatever MediaLimits says), "
            f"got {width}x{height}. Convert it to another format.",
            code="too-many-pixels",
            source=name,
        )


def _palette_bytes(flags: bytes) -> int:
    """The length of the palette that a byte of flags, if there is one, announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 128 else 0


def _check_webp(stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    head = stream.read(30)
    end = stream.seek(0, 2)
    if _int(head[4:8]) + 8 > end:
        raise InputError(
            f"{name}: expected a WebP of {_int(head[4:8]) + 8:,} bytes as its header says, got {end:,}: "
            f"the file is cut off. Fetch or write it again.",
            code="truncated",
            source=name,
        )
    if canvas := _webp_size(head):
        limits.check_size(*canvas, name=name)
    if head[12:16] != b"VP8X":
        return  # one frame
    frames = blocks = 0
    stream.seek(12)
    while len(chunk := stream.read(8)) == 8:
        blocks += 1
        if blocks > MAX_BLOCKS:
            raise _too_many_blocks(name)
        if chunk[:4] == b"ANMF":
            frames += 1
            if frames > limits.max_frames:
                limits.check_frames(frames, name=name)
        size = _int(chunk[4:8])
        stream.seek(size + (size & 1), 1)


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if len(head) < 30:
        return None  # too short for any WebP: the decoder will say so
    if kind == b"VP8X":
        return _int(head[24:27]) + 1, _int(head[27:30]) + 1
    if kind == b"VP8L":
        return (_int(head[21:25]) & 0x3FFF) + 1, (_int(head[21:25]) >> 14 & 0x3FFF) + 1
    return _int(head[26:28]) & 0x3FFF, _int(head[28:30]) & 0x3FFF


def _too_many_blocks(name: str) -> LimitError:
    return LimitError(
        f"{name}: expected at most {MAX_BLOCKS:,} data blocks, got more: its frames cannot be counted in "
        f"bounded time. Convert the file.",
        code="too-many-frames",
        source=name,
    )


def _int(little_endian: bytes) -> int:
    return int.from_bytes(little_endian, "little")


_CHECKS = {
    "AVIF": check_avif,
    "GIF": _check_gif,
    "JPEG": check_jpeg,
    "PNG": _check_png,
    "PPM": check_ppm,
    "TIFF": check_tiff,
    "WEBP": _check_webp,
    "XPM": check_xpm,
}
