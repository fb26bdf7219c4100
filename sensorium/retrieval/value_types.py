"""What type of column holds a value of metadata: told from the value alone, whatever stands beside it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from sensorium.retrieval.column_types import BOOL, LARGE, MOST_FIELDS, NULL, NUMBER, TEXT, WHOLE, kept_as, widened

DEEPEST = 16
"""Lists and mappings that may lie within each other: what lies much deeper is written, and not read again."""

LONGEST_NAME = 1_000
"""Characters of such a name at most."""

_HELD = 2**53
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLES = (int, np.integer)
_NUMBERS = (float, np.float16, np.float32)
_TEXTS_LIST, _WHOLES_LIST, _NUMBERS_LIST = pa.list_(TEXT), pa.list_(WHOLE), pa.list_(NUMBER)
_SIMPLE = {str: TEXT, float: NUMBER, bool: BOOL, type(None): NULL}
_PLAIN = (WHOLE, _TEXTS_LIST, _WHOLES_LIST, _NUMBERS_LIST, LARGE, TEXT, NUMBER, NULL, BOOL)
_ARROW = (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError)


def type_of(value: Any, depth: int = 0) -> pa.DataType:
    """The type of the column that holds a value; `LARGE` for whole numbers that no float is.

    Raises:
        ValueError: no column holds it; says why, as "holds …".
    """
    if value is None:
        return NULL
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (bool, np.bool_)):
        return BOOL
    if isinstance(value, np.uint64):
        return pa.uint64()
    if isinstance(value, _WHOLES):
        return _whole(int(value))
    if isinstance(value, _NUMBERS):
        return NUMBER
    if depth == DEEPEST:
        raise ValueError(f"holds lists or mappings in more than {DEEPEST} levels")
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return _list(value, depth)
    return _mapping(value, depth) if isinstance(value, dict) else _other(value)


def checked_type(value: Any) -> pa.DataType:
    """As `type_of`, tried out for all but plain values and lists of them.

    Raises:
        ValueError: no column holds it.
    """
    if (simple := _SIMPLE.get(type(value))) is not None and (simple is not TEXT or value.isascii()):
        return simple
    found = type_of(value)
    if any(found is plain for plain in _PLAIN):
        return found
    try:
        pa.array([value], kept_as(found))
    except _ARROW as error:
        raise ValueError(f"holds what no column can: {error}") from error
    return found


def check_name(name: str) -> None:
    """Refuses the name of a column, or of a field in it, that cannot be kept.

    Raises:
        ValueError: it is empty, too long, or no text.
    """
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or _LONE_SURROGATE.search(name):
        raise ValueError(f"holds the name {str(name)[:80]!r}; names are texts of 1 to {LONGEST_NAME:,} characters")


def _text(value: str) -> pa.DataType:
    if not value.isascii() and _LONE_SURROGATE.search(value):
        raise ValueError("holds half of a surrogate pair, which is not a character")
    return TEXT


def _whole(value: int) -> pa.DataType:
    if -_HELD <= value <= _HELD:
        return WHOLE
    if not -(2**63) <= value < 2**63:
        raise ValueError("holds a whole number beyond 64 bits")
    return LARGE


def _list(values: Any, depth: int) -> pa.DataType:
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise ValueError(f"holds an array of {values.ndim} dimensions, and lists have one")
        values = values.tolist()
    plain = set(map(type, values))
    if plain == {float}:
        return _NUMBERS_LIST
    if plain == {str}:
        _text("".join(values))  # no pair of surrogates comes of joining two halves
        return _TEXTS_LIST
    if plain == {int} and WHOLE is _whole(min(values)) is _whole(max(values)):
        return _WHOLES_LIST
    whole = NULL
    for value in values:
        try:
            whole = widened(whole, type_of(value, depth + 1))
        except TypeError as error:
            raise ValueError("holds a list with values of several kinds") from error
    return pa.list_(whole)


def _mapping(values: dict[Any, Any], depth: int) -> pa.DataType:
    if len(values) > MOST_FIELDS:
        raise ValueError(f"holds a mapping with more than {MOST_FIELDS:,} keys")
    for name in values:
        check_name(name)
    return pa.struct([pa.field(name, type_of(value, depth + 1)) for name, value in values.items()])


def _other(value: Any) -> pa.DataType:
    """Of times, decimals, bytes, and what else Arrow knows."""
    try:
        if isinstance(value, datetime) and value.tzinfo is not None:
            value.astimezone(UTC)  # what lies outside of the calendar there could not be read again
            return pa.timestamp("us", "UTC")
        return pa.array([value]).type
    except _ARROW as error:
        raise ValueError(f"holds what no column can: {error}") from error
