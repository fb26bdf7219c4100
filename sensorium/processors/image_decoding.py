"""Encoded pictures and PIL images → pixels, header first.

Pillow is the reference decoder. JPEGs that libjpeg decodes to RGB or grey go through torchvision, which runs the
same libjpeg-turbo without Pillow's copies, and gives the same bytes (tests hold that); whatever torchvision
refuses, Pillow judges.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from sensorium.errors import InputError
from sensorium.processors.image_faults import DAMAGE, damage_mapped
from sensorium.processors.image_headers import check_container, check_decoder
from sensorium.processors.image_jpeg import PlainJpeg, check_scans, is_whole_baseline_jpeg, plain_jpeg
from sensorium.processors.image_sniffing import sniff
from sensorium.processors.interrupting import LONG_WORK, interruptibly
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    from torch import Tensor

_ORIENTATION = 0x0112  # the EXIF tag
_MANY_SCANS = 16  # about as many as progressive JPEGs have
_LARGE = 2**24  # pixels
_BYTES_A_PIXEL = 24  # of an image, its RGB, and the canvases that decoders have besides

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
    fast = _fast(stream, name=name, limits=limits)
    if fast is not None:
        pixels = _decode_jpeg(stream, orientation=fast.orientation, work=fast.work)
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
            interruptibly(image.load, _work(image))
        except (ValueError, AssertionError, AttributeError) as error:
            if "closed" in str(error) or getattr(image, "fp", None) is None:
                raise _closed(name) from error
        except DAMAGE:  # told below
            pass
        return _to_rgb(image, name=name)


def pil_to_tensor(image: Image.Image) -> Tensor:
    """Copy an RGB PIL image to a `(3, H, W)` uint8 tensor, channels-last in memory."""
    import torch

    if image.width * image.height < _LARGE:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    rows = max(1, _LARGE // image.width)
    for top in range(0, image.height, rows):  # as a whole it would be in memory three times
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _open(stream: IO[bytes], *, name: str, limits: MediaLimits) -> Image.Image:
    """Read the header, and no pixel. Not Image.open: that warns or raises by its own, global, pixel limit."""
    kind = "JPEG"
    if plain_header(stream, name=name, limits=limits) is None:
        kind = sniff(stream, name=name, limits=limits)
        check_container(kind, stream, name=name, limits=limits)
    Image.preinit()
    stream.seek(0)
    with damage_mapped(name, f"a {kind} picture"):
        image: Image.Image = Image.OPEN[kind][0](stream, "")
    limits.check_size(*image.size, name=name)
    check_decoder(image, stream, name=name)
    if kind in ("PNG", "WEBP", "AVIF"):  # counted from the header; Pillow would walk a GIF's or TIFF's whole file
        limits.check_frames(getattr(image, "n_frames", 1), name=name)
    return image


class _Fast(NamedTuple):
    """A JPEG that is for the fast decoder: its EXIF orientation, and the pixels that are gone through."""

    orientation: int
    work: int


def _fast(stream: IO[bytes], *, name: str, limits: MediaLimits) -> _Fast | None:
    """Check a JPEG's header; None for what the fast decoder is not for."""
    plain = plain_header(stream, name=name, limits=limits)
    if plain:
        return _Fast(1, plain.width * plain.height * (1 if plain.one_scan else _MANY_SCANS))
    image = _open(stream, name=name, limits=limits)
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    return _Fast(_orientation(image), _work(image))


def plain_header(stream: IO[bytes], *, name: str, limits: MediaLimits) -> PlainJpeg | None:
    """Check the header of a plain JPEG, which needs no other check; None for what is none."""
    with _viewed(stream, 2**16) as head:
        if bytes(head[:3]) != b"\xff\xd8\xff" or "JPEG" not in limits.formats:
            return None
        plain = plain_jpeg(head)
    if plain:
        limits.check_size(plain.width, plain.height, name=name)
        if not plain.one_scan:
            check_scans(stream, plain.width, plain.height, name=name)
    return plain


def _work(image: Image.Image) -> int:
    """The pixels that loading an image goes through, about."""
    if image.format in ("AVIF", "HEIF"):  # whose decoders may find a larger picture than its header tells of
        return LONG_WORK
    return image.width * image.height * (_MANY_SCANS if "progressive" in image.info else 1)


def _viewed(stream: IO[bytes], max_bytes: int = -1) -> memoryview:
    """All bytes of a stream in memory, uncopied, or up to `max_bytes` of another; writable, and for a `with` statement.

    A view of a BytesIO that outlives its use, in the traceback of an error, keeps its owner from changing it, and ends
    Python 3.12.1 when it is collected as garbage (python/cpython#111049).
    """
    stream.seek(0)
    return stream.getbuffer() if isinstance(stream, io.BytesIO) else memoryview(bytearray(stream.read(max_bytes)))


def _decode_jpeg(stream: IO[bytes], *, orientation: int, work: int = 0) -> Tensor | None:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    from sensorium.processors.jpeg_on_device import current_decoder

    with _viewed(stream) as whole:
        data = torch.frombuffer(whole, dtype=torch.uint8)
        # what holds the bytes stays while they are decoded, even if nobody waits for that any more
        decode = partial(_first, partial(decode_jpeg, data, mode=ImageReadMode.RGB), whole.obj)
        decoder = current_decoder()
        on_device = decoder.decode(data) if decoder is not None and is_whole_baseline_jpeg(whole) else None
        try:
            pixels: Tensor = interruptibly(decode, work) if on_device is None else on_device
        except RuntimeError:  # damaged, or something that only Pillow reads: Pillow has the last word
            return None
    turned = pixels.transpose(1, 2) if orientation >= 5 else pixels
    axes = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation)
    if axes is None and turned is pixels:
        return pixels
    turned = turned.flip(axes) if axes else turned
    return turned.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _first(decode: Callable[[], Tensor], _kept: object) -> Tensor:
    return decode()


def _orientation(image: Image.Image) -> int:
    """The EXIF (or XMP) orientation, 1 … 8. Damaged metadata says nothing: 1."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except DAMAGE:
        return 1
    return orientation if orientation in range(2, 9) else 1


def _to_rgb(image: Image.Image, *, name: str) -> Image.Image:
    with damage_mapped(name, f"a {image.format or 'PIL'} picture", needed=image.width * image.height * _BYTES_A_PIXEL):
        interruptibly(image.load, _work(image))
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image, name=name)
    if "transparency" in image.info:  # it changes no RGB value, but Pillow would warn about a palette's
        image = image.copy()
        del image.info["transparency"]
    with damage_mapped(name, f"mode {image.mode} to convert to RGB"):
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
