"""A picture as squares along its longer side, for models that see squares only."""

from __future__ import annotations

import math

from torch import Tensor

from sensorium.errors import LimitError

MOST_SQUARES = 8
"""What the squares of a picture show is joined at once: 150 classes of eight are 1.3 GB."""


def square_starts(height: int, width: int) -> list[int]:
    """Where the squares begin, px along the longer side: as few as cover it, evenly spread, as wide as the shorter one.

    Args:
        height: of the picture, px.
        width: of the picture, px.

    Raises:
        LimitError: there would be more than `MOST_SQUARES`.
    """
    side, length = sorted((height, width))
    count = math.ceil(length / side)
    if count > MOST_SQUARES:
        raise LimitError(
            f"a picture of {width}x{height} px makes {count} squares for this checkpoint, which looks at "
            f"{MOST_SQUARES} at most. Crop it to a shape less elongated, or pass slice_px=, of about its shorter side.",
            code="too-elongated",
        )
    if count == 1:
        return [0]
    overlap = (count * side - length) / (count - 1)
    # The reference rounds the last one's start down, too, and where it is off by its rounding leaves out a px.
    return [*(int(i * (side - overlap)) for i in range(count - 1)), length - side]


def squares_of(image: Tensor) -> list[Tensor]:
    """The squares of a picture, `(3, H, W)`, each `(3, S, S)`, a view of it.

    Raises:
        LimitError: there would be more than `MOST_SQUARES`.
    """
    height, width = image.shape[1:]
    side, axis = min(height, width), 1 if height > width else 2
    return [image.narrow(axis, start, side) for start in square_starts(height, width)]
