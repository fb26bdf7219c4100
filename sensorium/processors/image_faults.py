"""What decoders of pictures raise → errors with codes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from sensorium.errors import InputError, LimitError
from sensorium.processors.shortage import is_shortage, out_of_memory

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # a warning where warnings are errors
# What Pillow's plugins raise on damaged files; Warning for those who turn warnings into errors.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError,
    RuntimeError, AssertionError, MemoryError, struct.error, zlib.error, Warning,
)  # fmt: skip
_UNREAD_PIXELS = ("unknown pixel mode", "unknown data organization", "unknown BMP compression")
_CUT_OFF = (EOFError, IndexError, struct.error)


@contextmanager
def damage_mapped(name: str, expected: str, *, needed: int = 0) -> Iterator[None]:
    """Turns what Pillow raises into an InputError.

    Args:
        name: of the input.
        expected: what was.
        needed: bytes that the work takes; where there are not so many, the damage is none.
    """
    try:
        yield
    except _BOMB as error:
        raise LimitError(
            f"{name}: expected a picture within Pillow's own limits, got: {error} Scale it down.",
            code="too-many-pixels",
            source=name,
        ) from error
    except DAMAGE as error:
        if is_shortage(error, needed):
            raise out_of_memory(name, expected, error) from error
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
