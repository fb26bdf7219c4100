"""Where several inputs are expected, one is told apart by its type: Python would go through most of them, too."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

from sensorium.errors import OptionError
from sensorium.processors.audio_forms import is_with_rate


def refuse_one(inputs: Any, nouns: str) -> None:
    """Refuses one input: a text, bytes, a path, a mapping, an open file, a sound with its rate, a number, a picture.

    A file that is open as text is its lines.

    Args:
        inputs: what was given for several.
        nouns: what is expected.

    Raises:
        OptionError: it is one, or nothing that can be gone through.
    """
    is_file = hasattr(inputs, "read") and not isinstance(inputs, io.TextIOBase)
    if is_file or isinstance(inputs, (str, bytes, bytearray, memoryview, Mapping, os.PathLike)):
        what = type(inputs).__name__
    elif is_with_rate(inputs):
        what = "sound with its rate"
    elif not hasattr(inputs, "__iter__") and not (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")):
        what = type(inputs).__name__
    else:
        return
    raise OptionError(f"expected several {nouns}, got one {what}; put it in a list")
