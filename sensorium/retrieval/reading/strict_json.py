"""JSON as its standard has it: Python reads NaN, too, and makes an infinity of a number that is too large."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def loads(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is not JSON, or has a number that is larger than any number here.
        RecursionError: it has too many objects in objects.
    """
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"expected numbers up to 1.8e308, got {text[:40]}")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"expected JSON, got {text}, which JSON does not have")
