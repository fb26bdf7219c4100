"""One wide channel of a PIL image → levels of 8 or 16 bit."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.errors import InputError


def levels(image: Image.Image, *, name: str, bits: Literal[8, 16]) -> NDArray[Any]:
    """Bring one wide channel to 8 bit, where Pillow's convert("RGB") would clip all above 255 to white, or to 16.

    16 bit keeps its high byte, as Pillow does for 16-bit RGB and torchvision for uint16. Modes I and F carry
    no scale, so they are taken as the smallest that holds their values: I as 8 or 16 bit (a PPM's is always 16),
    F as [0, 1] or [0, 255].

    Args:
        image: of the modes I;16, I or F.
        name: what to call the input in an error.
        bits: how many bits to bring it to, at most: of a mode I that holds 8 bit there are no more.

    Returns:
        `(H, W)` uint8, or uint16 in [0, 65535].

    Raises:
        InputError: `not-finite`, `bad-range`.
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
    wide = image.mode != "I" or high > 255 or image.format == "PPM"
    if image.mode == "F":
        unit = values if high <= 1 else values / np.float32(255)
        values = np.rint(values * 255 if high <= 1 else values) if bits == 8 else np.rint(unit * 65535)
    elif wide and bits == 8:
        values = values >> 8
    return values.astype(np.uint16 if wide and bits == 16 else np.uint8)
