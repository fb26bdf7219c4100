"""Encoded pictures and PIL images → all that they hold: grey, alpha and 16 bit are kept."""

from __future__ import annotations

import re
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.errors import InputError
from sensorium.processors import image_decoding
from sensorium.processors.image_levels import levels
from sensorium.processors.limits import MediaLimits

_DEEP = re.compile(r"\b(?:RGB[AXa]?|LA|CMYK);16[BLN]?\b")
"""What Pillow calls 16 bits of several channels, of which it keeps the high byte."""

_ALPHA = {"La", "LA", "PA", "RGBa", "RGBA"}


def decode_layers(stream: IO[bytes], *, name: str, limits: MediaLimits, deep: bool = True) -> NDArray[Any]:
    """Decode an encoded picture as `load_layers` does.

    Args:
        stream: a seekable binary stream of one encoded picture.
        name: what to call the input in an error.
        limits: the bounds that its header has to keep.
        deep: whether colours of 16 bit may be decoded, for which torch is needed.

    Returns:
        `(H, W, C)` uint8 or uint16.

    Raises:
        InputError: as `image_decoding.decode`; `unsupported-depth`.
        LimitError: as `image_decoding.decode`.
    """
    image = image_decoding.open_checked(stream, name=name, limits=limits)
    is_deep = _is_deep(image)
    if is_deep and not (deep and image.format == "PNG"):
        raise _too_deep(name, image.format or "PIL image")
    turned = image_decoding.upright(image, name=name)  # tells of damage, too
    return _deep_png(stream, name=name) if is_deep else layers_of(turned, name=name)


def layers_of(image: Image.Image, *, name: str) -> NDArray[Any]:
    """The channels of a PIL image, turned upright.

    Returns:
        `(H, W, C)` uint8 or uint16.

    Raises:
        InputError: as `decode_layers`; `not-finite` and `bad-range` for modes I and F.
    """
    image = image_decoding.upright(image, name=name)
    if image.mode.startswith("I") or image.mode == "F":
        grey = levels(image, name=name, bits=16)
        key = image.info.get("transparency")
        if type(key) is not int:
            return grey[:, :, None]
        return np.stack([grey, np.where(grey == key, 0, np.iinfo(grey.dtype).max).astype(grey.dtype)], 2)
    grey_only = image.mode in ("1", "L", "LA", "La")
    has_alpha = image.mode in _ALPHA or "transparency" in image.info
    if image.mode in ("La", "RGBa"):  # multiplied by alpha, which Pillow only undoes for the same channels
        image = image.convert(image.mode.upper())
    mode = ("LA" if has_alpha else "L") if grey_only else ("RGBA" if has_alpha else "RGB")
    if image.mode != mode:
        image = image.convert(mode)
    pixels = np.array(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def check_depth(image: Image.Image, *, name: str) -> None:
    """Refuse a PIL image that is not loaded yet, and would be without half its bits.

    Raises:
        InputError: `unsupported-depth`.
    """
    if _is_deep(image):
        raise _too_deep(name, f"PIL image of a {image.format}")


def _deep_png(stream: IO[bytes], *, name: str) -> NDArray[Any]:
    """`(H, W, C)` uint16, of a PNG that Pillow has read without a fault."""
    import torch
    from torchvision.io import ImageReadMode, decode_png

    stream.seek(0)
    data = torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8)
    try:
        pixels = decode_png(data, mode=ImageReadMode.UNCHANGED, apply_exif_orientation=True)
    except RuntimeError as error:
        raise InputError(
            f"{name}: expected a PNG of 16 bit, got one that libpng does not read ({error}). Write it again.",
            code="corrupt",
            source=name,
        ) from error
    found: NDArray[Any] = pixels.permute(1, 2, 0).numpy()
    return found


def _is_deep(image: Image.Image) -> bool:
    """Whether Pillow would drop the low byte of each level; of an image that is not loaded yet."""
    tiles = getattr(image, "tile", None) or []
    return any(_DEEP.search(str(tile[3])) or _is_deep_ppm(image, tile[3]) for tile in tiles)


def _is_deep_ppm(image: Image.Image, settings: Any) -> bool:
    return image.format == "PPM" and image.mode == "RGB" and isinstance(settings, tuple) and int(settings[-1]) > 255


def _too_deep(name: str, kind: str) -> InputError:
    return InputError(
        f"{name}: expected 8 bit, or 16-bit grey, got 16-bit colours in a {kind}, of which half the bits would be lost "
        f"here. Give the path or the bytes of a PNG, without MediaLimits(isolate=True), or a uint16 array.",
        code="unsupported-depth",
        source=name,
    )
