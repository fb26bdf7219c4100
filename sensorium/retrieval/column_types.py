"""Types of columns: in words, and the one that holds the values of two."""

from __future__ import annotations

import pyarrow as pa

MOST_FIELDS = 1_000
"""Names of metadata in an index at most, and keys of a mapping in it."""

LARGE = pa.dictionary(pa.int8(), pa.int64())
"""Stands for whole numbers of which float64 does not hold all; they are kept as int64."""

NULL, BOOL, WHOLE, NUMBER, TEXT = pa.null(), pa.bool_(), pa.int64(), pa.float64(), pa.string()

_TYPES = pa.types
_UNITS = ("ns", "us", "ms", "s")


def cast_to(column: pa.ChunkedArray, kind: pa.DataType | None) -> pa.ChunkedArray:
    """A column of a type; None for its own, to which Arrow (26) casts lists of nulls wrongly."""
    return column if kind is None or column.type == kind else column.cast(kind)


def kind_of(column: pa.DataType) -> str:
    """What a column holds, in words."""
    if _TYPES.is_boolean(column):
        return "True or False"
    if _TYPES.is_integer(column) or column == LARGE:
        return "whole numbers"
    if _TYPES.is_floating(column):
        return "numbers"
    if _TYPES.is_string(column) or _TYPES.is_large_string(column):
        return "texts"
    if is_list(column):
        return f"lists of {kind_of(column.value_type)}"
    return "no values" if _TYPES.is_null(column) else str(column)


def is_list(column: pa.DataType) -> bool:
    """Whether each of its values is a list."""
    return bool(_TYPES.is_list(column) or _TYPES.is_large_list(column) or _TYPES.is_fixed_size_list(column))


def widened(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds the values of both.

    Raises:
        TypeError: they are of two kinds, or there is none.
    """
    if one == other:
        return one
    if _TYPES.is_null(one) or _TYPES.is_null(other):
        return other if _TYPES.is_null(one) else one
    if _TYPES.is_uint64(one) or _TYPES.is_uint64(other):
        raise TypeError
    if all(_TYPES.is_integer(each) or each == LARGE for each in (one, other)):
        return LARGE if LARGE in (one, other) else pa.int64()  # a cast to it refuses what it does not hold
    if all(_TYPES.is_integer(each) or _TYPES.is_floating(each) for each in (one, other)):
        return pa.float64()  # and so does one to this
    if is_list(one) and is_list(other):
        return pa.list_(widened(one.value_type, other.value_type))
    if _TYPES.is_struct(one) and _TYPES.is_struct(other):
        return _widened_struct(one, other)
    if _TYPES.is_decimal(one) and _TYPES.is_decimal(other):
        return _widened_decimal(one, other)
    if {kind_of(one), kind_of(other)} == {"texts"}:
        return pa.large_string()
    if _TYPES.is_timestamp(one) and _TYPES.is_timestamp(other) and (one.tz is None) == (other.tz is None):
        return pa.timestamp(min(one.unit, other.unit, key=_UNITS.index), one.tz)
    raise TypeError


def kept_as(found: pa.DataType) -> pa.DataType:
    """The type in which values of a type that `type_of` gave are kept: the same, but for `LARGE`."""
    return _replaced(found, {LARGE: WHOLE})


def in_floats(found: pa.DataType) -> pa.DataType:
    """A type with float64 in the place of whole numbers."""
    return _replaced(found, dict.fromkeys([WHOLE, LARGE], NUMBER))


def in_large(found: pa.DataType) -> pa.DataType:
    """A type with `LARGE` in the place of whole numbers."""
    return _replaced(found, {WHOLE: LARGE})


def _widened_struct(one: pa.StructType, other: pa.StructType) -> pa.StructType:
    fields = {field.name: field.type for field in one}
    for field in other:
        fields[field.name] = widened(fields.get(field.name, field.type), field.type)
    if len(fields) > MOST_FIELDS:
        raise TypeError
    return pa.struct(list(fields.items()))


def _widened_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    scale = max(one.scale, other.scale)
    digits = max(each.precision - each.scale for each in (one, other)) + scale
    if digits > 38:
        raise TypeError
    return pa.decimal128(digits, scale)


def _replaced(found: pa.DataType, by: dict[pa.DataType, pa.DataType]) -> pa.DataType:
    if pa.types.is_list(found):
        return pa.list_(_replaced(found.value_type, by))
    if pa.types.is_struct(found):
        return pa.struct([pa.field(each.name, _replaced(each.type, by)) for each in found])
    return by.get(found, found)
