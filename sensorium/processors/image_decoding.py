"""Encoded pictures and PIL images → pixels, header first.

Pillow is the reference decoder. JPEGs that libjpeg decodes to RGB or grey go through torchvision, which runs the
same libjpeg-turbo without Pillow's copies, and gives the same bytes (tests hold that); whatever torchvision
refuses, Pillow judges.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from sensorium.errors import InputError, LimitError
from sensorium.processors.image_headers import check_container, is_whole_baseline_jpeg, plain_jpeg_size
from sensorium.processors.image_sniffing import sniff
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    from torch import Tensor

_ORIENTATION = 0x0112  # the EXIF tag
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # a warning where warnings are errors
# What Pillow's plugins raise on damaged files; Warning for those who turn warnings into errors.
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError,
    RuntimeError, AssertionError, MemoryError, struct.error, zlib.error, Warning,
)  # fmt: skip
_UNREAD_PIXELS = ("unknown pixel mode", "unknown data organization", "unknown BMP compression")
_CUT_OFF = (EOFError, IndexError, struct.error)

# PIL images load lazily and not thread-safely, and one image may be in a list twice. Striped by identity: two
# images that share a lock only wait for each other.
_LOCKS = tuple(threading.Lock() for _ in range(64))


def decode(stream: IO[bytes], *, name: str, limits: MediaLimits) -> Tensor:
    """Decode an encoded picture, upright.

    Args:
        stream: a seekable binary stream of one encoded picture.
        name: what to call the input in an error.
        limits: the bounds that its header has to keep.

    Returns:
        `(3, H, W)` uint8 RGB in [0, 255], channels-last in memory; on a device where `JpegDecoder.here` has it so.

    Raises:
        InputError: `not-a-picture`, `truncated`, `corrupt`, `zero-sized`; `bad-range` and `not-finite`
            for modes I and F.
        LimitError: `format-not-allowed`, `too-many-pixels`, `too-many-frames`.
    """
    orientation = _fast_orientation(stream, name=name, limits=limits)
    if orientation is not None:
        pixels = _decode_jpeg(stream, orientation=orientation)
        if pixels is not None:
            return pixels
    return pil_to_tensor(_to_rgb(_open(stream, name=name, limits=limits), name=name))


def decode_pil(stream: IO[bytes], *, name: str, limits: MediaLimits) -> Image.Image:
    """Decode an encoded picture as an RGB PIL image, upright; otherwise like `decode`."""
    return _to_rgb(_open(stream, name=name, limits=limits), name=name)


def convert_pil(image: Image.Image, *, name: str, limits: MediaLimits) -> Image.Image:
    """Bring a PIL image, loaded or not, of any mode, to upright RGB.

    Args:
        image: left as it is, but for being loaded; an animation gives its current frame.
        name: what to call the input in an error.
        limits: `max_pixels` applies.

    Returns:
        An RGB image: the same object where there is nothing to do.

    Raises:
        InputError: as `decode`.
        LimitError: `too-many-pixels`.
    """
    limits.check_size(*image.size, name=name)
    with _LOCKS[(id(image) >> 4) % len(_LOCKS)]:
        try:
            image.load()
        except (ValueError, AssertionError, AttributeError) as error:
            if "closed" in str(error) or getattr(image, "fp", None) is None:
                raise _closed(name) from error
        except _DAMAGE:  # told below
            pass
        return _to_rgb(image, name=name)


def pil_to_tensor(image: Image.Image) -> Tensor:
    """Copy an RGB PIL image to a `(3, H, W)` uint8 tensor, channels-last in memory."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _open(stream: IO[bytes], *, name: str, limits: MediaLimits) -> Image.Image:
    """Read the header, and no pixel. Not Image.open: that warns or raises by its own, global, pixel limit."""
    kind = sniff(stream, name=name, limits=limits)
    check_container(kind, stream, name=name, limits=limits)
    stream.seek(0)
    with _damage_mapped(name, f"a {kind} picture"):
        image: Image.Image = Image.OPEN[kind][0](stream, "")
    limits.check_size(*image.size, name=name)
    if kind in ("PNG", "WEBP", "AVIF"):  # counted from the header; Pillow would walk a GIF's or TIFF's whole file
        limits.check_frames(getattr(image, "n_frames", 1), name=name)
    return image


def _fast_orientation(stream: IO[bytes], *, name: str, limits: MediaLimits) -> int | None:
    """Check a JPEG's header and tell its orientation; None for what the fast decoder is not for."""
    with _viewed(stream, 2**16) as head:
        if bytes(head[:3]) != b"\xff\xd8\xff" or "JPEG" not in limits.formats:
            return None
        size = plain_jpeg_size(head)
    if size:
        limits.check_size(*size, name=name)
        return 1
    image = _open(stream, name=name, limits=limits)
    return _orientation(image) if image.format == "JPEG" and image.mode in ("RGB", "L") else None


def _viewed(stream: IO[bytes], max_bytes: int = -1) -> memoryview:
    """All bytes of a stream in memory, uncopied, or up to `max_bytes` of another; writable, and for a `with` statement.

    A view of a BytesIO that outlives its use, in the traceback of an error, keeps its owner from changing it, and ends
    Python 3.12.1 when it is collected as garbage (python/cpython#111049).
    """
    stream.seek(0)
    return stream.getbuffer() if isinstance(stream, io.BytesIO) else memoryview(bytearray(stream.read(max_bytes)))


def _decode_jpeg(stream: IO[bytes], *, orientation: int) -> Tensor | None:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    from sensorium.processors.jpeg_on_device import current_decoder

    with _viewed(stream) as whole:
        data = torch.frombuffer(whole, dtype=torch.uint8)
        decoder = current_decoder()
        on_device = decoder.decode(data) if decoder is not None and is_whole_baseline_jpeg(whole) else None
        try:
            pixels: Tensor = decode_jpeg(data, mode=ImageReadMode.RGB) if on_device is None else on_device
        except RuntimeError:  # damaged, or something that only Pillow reads: Pillow has the last word
            return None
    turned = pixels.transpose(1, 2) if orientation >= 5 else pixels
    axes = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation)
    if axes is None and turned is pixels:
        return pixels
    turned = turned.flip(axes) if axes else turned
    return turned.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _orientation(image: Image.Image) -> int:
    """The EXIF (or XMP) orientation, 1 … 8. Damaged metadata says nothing: 1."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return orientation if orientation in range(2, 9) else 1


def _to_rgb(image: Image.Image, *, name: str) -> Image.Image:
    with _damage_mapped(name, f"a {image.format or 'PIL'} picture"):
        image.load()
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image, name=name)
    if "transparency" in image.info:  # it changes no RGB value, but Pillow would warn about a palette's
        image = image.copy()
        del image.info["transparency"]
    with _damage_mapped(name, f"mode {image.mode} to convert to RGB"):
        return image.convert("RGB")


def _closed(name: str) -> InputError:
    return InputError(
        f"{name}: expected an open PIL image, got one that was closed before its pixels were read. Call image.load() "
        f"inside its with statement, or pass the path.",
        code="unreadable-file",
        source=name,
    )


def _to_8_bit(image: Image.Image, *, name: str) -> Image.Image:
    """Scale one wide channel to 8 bit, where Pillow's convert("RGB") would clip all above 255 to white.

    16 bit keeps its high byte, as Pillow does for 16-bit RGB and torchvision for uint16. Modes I and F carry
    no scale, so they are taken as the smallest that holds their values: I as 8 or 16 bit (a PPM's is always 16),
    F as [0, 1] or [0, 255].
    """
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise InputError(
            f"{name}: expected finite pixel values, got NaN or infinity. Replace them first.",
            code="not-finite",
            source=name,
        )
    if low < 0 or high > (255 if image.mode == "F" else 65535):
        raise InputError(
            f"{name}: expected values in [0, 65535] (mode I) or [0, 255] (mode F), got [{low}, {high}] in mode "
            f"{image.mode}. Scale them to 8 bit first.",
            code="bad-range",
            source=name,
        )
    if image.mode == "F":
        values = np.rint(values * 255 if high <= 1 else values)
    elif image.mode != "I" or high > 255 or image.format == "PPM":
        values = values >> 8
    return Image.fromarray(values.astype(np.uint8))


@contextmanager
def _damage_mapped(name: str, expected: str) -> Iterator[None]:
    try:
        yield
    except _BOMB as error:
        raise LimitError(
            f"{name}: expected a picture within Pillow's own limits, got: {error} Scale it down.",
            code="too-many-pixels",
            source=name,
        ) from error
    except _DAMAGE as error:
        if str(error) in _UNREAD_PIXELS:
            raise InputError(
                f"{name}: this is {expected}, but its pixels are of a kind that Pillow does not read ({error}): "
                f"RGB in floating point, half or double precision, five channels. Read it with tifffile, bring it to "
                f"uint8 or to [0, 1], and pass the array.",
                code="unsupported-format",
                source=name,
            ) from error
        short = "truncated" in str(error).lower() or isinstance(error, _CUT_OFF)
        short = short or isinstance(error.__cause__, _CUT_OFF)
        state = "it ends too early" if short else "its data is damaged"
        raise InputError(
            f"{name}: expected {expected}, but {state} ({type(error).__name__}: {error}). Fetch or write it again.",
            code="truncated" if short else "corrupt",
            source=name,
        ) from error
