"""The columns of passages: of what kind they are, and how two of one name become one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from sensorium.errors import InputError

_TYPES = pa.types


def kind_of(column: pa.DataType) -> str:
    """What a column holds, in words."""
    if _TYPES.is_boolean(column):
        return "True or False"
    if _TYPES.is_integer(column):
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


def made_column(name: str, values: list[Any]) -> pa.Array:
    """Values as a column: whole numbers and numbers together are numbers, and None is no value.

    Raises:
        InputError: `bad-metadata`: they are of several kinds, or of one that no column can hold.
    """
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"the metadata {name!r} of these passages cannot be one column: {error}. Give them all one type, or turn "
            "them into texts.",
            code="bad-metadata",
        ) from error


def joined(old: pa.Table, new: pa.Table) -> pa.Table:
    """One table under the other, whose columns take what both hold; what one of them lacks is null there.

    Raises:
        InputError: `bad-metadata`: columns of one name are of two kinds, or their values of no type that holds both.
    """
    for name in set(old.column_names) & set(new.column_names):
        one, other = old.schema.field(name).type, new.schema.field(name).type
        if one == other:
            continue
        try:
            both = _widened(one, other)
            old, new = (table.set_column(table.column_names.index(name), name, table[name].cast(both))
                        for table in (old, new))  # fmt: skip
        except (pa.ArrowException, TypeError) as error:
            raise InputError(
                f"the metadata {name!r} holds {kind_of(one)} in this index, and {kind_of(other)} in the new passages, "
                f"which no column holds both without loss{f': {error}' if str(error) else ''}. Give them one type, or "
                "another name.",
                code="bad-metadata",
            ) from error
    return pa.concat_tables([old, new], promote_options="default")


def _widened(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds the values of both.

    Raises:
        TypeError: they are of two kinds.
    """
    if _TYPES.is_null(one) or _TYPES.is_null(other):
        return other if _TYPES.is_null(one) else one
    if _TYPES.is_integer(one) and _TYPES.is_integer(other):
        return pa.int64()
    if all(_TYPES.is_integer(each) or _TYPES.is_floating(each) for each in (one, other)):
        return pa.float64()  # a cast to it refuses whole numbers that it does not hold
    if is_list(one) and is_list(other):
        return pa.list_(_widened(one.value_type, other.value_type))
    if _TYPES.is_struct(one) and _TYPES.is_struct(other):
        schemas = [pa.schema(list(each)) for each in (one, other)]
        return pa.struct(list(pa.unify_schemas(schemas, promote_options="permissive")))
    if {kind_of(one), kind_of(other)} == {"texts"}:
        return pa.large_string()
    if one != other:
        raise TypeError
    return one
