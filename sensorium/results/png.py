"""Arrays of 8 and 16 bit as PNG, whatever their channels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {2: 4, 3: 2, 4: 6}
"""PNG's numbers for grey and alpha, for RGB and for RGBA."""
_LEVEL = 6  # of compression, which is zlib's own default


def png(array: NDArray[Any]) -> bytes:
    """The picture as a PNG, without loss.

    Args:
        array: `(H, W)` grey, or `(H, W, C)` of 2 to 4 channels: grey and alpha, RGB, RGBA; uint8 or uint16.
    """
    if array.dtype == np.uint16 and array.ndim == 3:  # which Pillow does not write
        return b"".join(_chunks(array))
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def _chunks(array: NDArray[Any]) -> Iterator[bytes]:
    """As the PNG specification has it: each row behind the number of its filter, here that of none."""
    height, width, channels = array.shape
    yield _SIGNATURE
    yield _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOURS[channels], 0, 0, 0))
    packer = zlib.compressobj(_LEVEL)
    packed = [packer.compress(b"\0" + row.astype(">u2").tobytes()) for row in array]
    yield _chunk(b"IDAT", b"".join([*packed, packer.flush()]))
    yield _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
