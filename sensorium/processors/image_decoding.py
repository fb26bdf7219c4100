"""Encoded pictures and PIL images → pixels, header first.

Pillow is the reference decoder. JPEGs that libjpeg decodes to RGB or grey go through torchvision, which runs the
same libjpeg-turbo without Pillow's copies, and gives the same bytes (tests hold that); whatever torchvision
refuses, Pillow judges.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from sensorium.errors import InputError
from sensorium.processors.image_faults import DAMAGE, damage_mapped
from sensorium.processors.image_headers import check_container, check_decoder
from sensorium.processors.image_jpeg import PlainJpeg, check_scans, is_whole_baseline_jpeg, plain_jpeg
from sensorium.processors.image_levels import levels
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
    return pil_to_tensor(_to_rgb(open_checked(stream, name=name, limits=limits), name=name))


def decode_pil(stream: IO[bytes], *, name: str, limits: MediaLimits) -> Image.Image:
    """Decode an encoded picture as an RGB PIL image, upright; otherwise like `decode`."""
    return _to_rgb(open_checked(stream, name=name, limits=limits), name=name)


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
    with loaded(image, name=name, limits=limits):
        return _to_rgb(image, name=name)


@contextmanager
def loaded(image: Image.Image, *, name: str, limits: MediaLimits) -> Iterator[None]:
    """Within it a PIL image is loaded, unless it is damaged, and no other thread is in here with it.

    Raises:
        InputError: `unreadable-file`, where it was closed before.
        LimitError: `too-many-pixels`.
    """
    limits.check_size(*image.size, name=name)
    with _LOCKS[(id(image) >> 4) % len(_LOCKS)]:
        try:
            interruptibly(image.load, _work(image))
        except (ValueError, AssertionError, AttributeError) as error:
            if "closed" in str(error) or getattr(image, "fp", None) is None:
                raise _closed(name) from error
        except DAMAGE:  # told by whoever loads it again
            pass
        yield


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


def open_checked(stream: IO[bytes], *, name: str, limits: MediaLimits) -> Image.Image:
    """Read the header, and no pixel. Not Image.open: that warns or raises by its own, global, pixel limit.

    Raises:
        InputError: as `decode`.
        LimitError: as `decode`.
    """
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
    image = open_checked(stream, name=name, limits=limits)
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


def upright(image: Image.Image, *, name: str) -> Image.Image:
    """Load an image that was opened, and turn it as its EXIF orientation says; its mode stays.

    Raises:
        InputError: `truncated`, `corrupt`.
    """
    with damage_mapped(name, f"a {image.format or 'PIL'} picture", needed=image.width * image.height * _BYTES_A_PIXEL):
        interruptibly(image.load, _work(image))
        return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image, *, name: str) -> Image.Image:
    image = upright(image, name=name)
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(levels(image, name=name, bits=8))
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
