"""Pictures that are looked at twice: by what finds something on them, and by what looks at that."""

from __future__ import annotations

from os import PathLike
from typing import Any

from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import load_image


def readable_again(raw: Any, limits: MediaLimits) -> Any:
    """A picture in a form that can be read a second time.

    Paths, bytes, arrays and PIL images stay as they are, and are decoded twice: no more decoded pictures wait between
    two models than fit their batches. What a stream or the network gives is decoded now.

    Args:
        raw: a picture in any form.
        limits: as in `load_image`.

    Raises:
        InputError: as in `load_image`, for what is decoded.
    """
    if "://" not in raw if isinstance(raw, str) else isinstance(raw, PathLike) or not hasattr(raw, "read"):
        return raw
    return load_image(raw, limits=limits)
