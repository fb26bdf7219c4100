"""The process that forks those which decode untrusted pictures. `image_isolation.py` starts it."""

from __future__ import annotations

import functools
import io
import json
import marshal
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

from PIL import Image, _imaging

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.isolation.bounds import address_space, bound_address_space
from sensorium.isolation.forking import SharedFile, fork_helpers
from sensorium.processors import image_decoding, image_layers
from sensorium.processors.limits import MediaLimits

SIZE = struct.Struct("<IIBB")
"""An answer's width and height in px, its channels, and how many bytes each of them has."""

_PIECE = 2**17  # bytes
_BYTES_A_PIXEL = 24  # of a picture of four channels that is turned, converted and written
_LEAST_MEMORY = 2 * 2**30


def main() -> None:
    """Forks helpers as the given socket says."""
    Image.init()
    fork_helpers(socket.socket(fileno=int(sys.argv[1])), decode)


def decode(request: bytes, file: SharedFile) -> bytes:
    """Decodes the file's content, and writes the pixels over it, row by row.

    Args:
        request: a name, how many bytes the file has, limits, and whether all layers of the picture are asked for, or
            RGB; written by `marshal`.
        file: that it came with.

    Returns:
        `SIZE` with the picture's, or an error's `kind`, `message` and `code` as JSON.
    """
    name, count, described, layered = marshal.loads(request)  # from the process that is protected
    limits = _limits(described)
    try:
        if layered:
            layers = image_layers.decode_layers(io.BytesIO(file.read(count)), name=name, limits=limits, deep=False)
            file.write([layers.tobytes()])
            height, width, channels = layers.shape
            return SIZE.pack(width, height, channels, layers.itemsize)
        image = decoded(file.read(count), name, limits)
        file.write(_packed(image))
    except (InputError, OptionError) as error:
        if getattr(error, "code", None) == "out-of-memory":
            raise MemoryError from error
        return _refusal(error)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - as the pipeline itself would tell it
        return _refusal(InputError(f"{name}: could not be decoded: {type(error).__name__}: {error}", code="failed"))
    return SIZE.pack(*image.size, 3, 1)


def decoded(data: memoryview, name: str, limits: MediaLimits) -> Any:
    """An RGB picture, as Pillow's core has it."""
    stream = io.BytesIO(data)
    plain = image_decoding.plain_header(stream, name=name, limits=limits)
    if plain is not None and plain.channels == 3:
        # as Pillow does, but for what its reader in Python looks for, and a plain JPEG has not
        pixels = _imaging.new("RGB", (plain.width, plain.height))
        decoder = Image._getdecoder("RGB", "jpeg", ("RGB", ""))
        decoder.setimage(pixels, (0, 0, *pixels.size))
        read, fault = decoder.decode(data)
        decoder.cleanup()
        if read < 0 <= fault:  # it is through, and nothing is wrong
            return pixels
    return image_decoding.decode_pil(stream, name=name, limits=limits).im


def _packed(pixels: Any) -> Iterator[bytes]:
    """Three bytes a pixel, where Pillow has four, in pieces that are still in a core's cache when they are copied."""
    encoder = Image._getencoder("RGB", "raw", ("RGB",))
    encoder.setimage(pixels, (0, 0, *pixels.size))
    through = 0
    while not through:
        _, through, piece = encoder.encode(max(_PIECE, 3 * pixels.size[0]))
        yield piece


@functools.lru_cache(1)
def _limits(described: str) -> MediaLimits:
    """The limits of a request, kept by this process's memory, too."""
    limits = MediaLimits(**json.loads(described))
    bound_address_space(_base() + max(_LEAST_MEMORY, _BYTES_A_PIXEL * limits.max_pixels))
    return limits


@functools.cache
def _base() -> int:
    return address_space()


def _refusal(error: InputError | OptionError) -> bytes:
    kind = "option" if isinstance(error, OptionError) else "limit" if isinstance(error, LimitError) else "input"
    return json.dumps({"kind": kind, "message": str(error), "code": getattr(error, "code", None)}).encode()


if __name__ == "__main__":
    main()
