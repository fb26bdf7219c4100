"""The typed columns of results: each class names its own once, and they are written and read from that.

`Labels`, for one, says that its column `labels` is a list of structs, and which of its attributes each field holds:

    columns = (Structs("labels", Field("label", TEXT, "labels"), Field("score", FLOAT32, "scores")),)

A column holds values exactly, and is of the same type for all results of a task with the same options and model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.results.cells import Cells
from sensorium.results.kinds import TEXT, Kind, floats, numbers_of, shaped

TAKEN = ("input_id", "source", "status", "error_code", "error_message")
"""Columns of a table of results that are not of the result; those carried along begin with `carried_`."""

GIVEN = "given"
"""The column that names those attributes that are not None, where a class has any that may be."""


class TypedColumn(ABC):
    """One column of a result, or two that go together, and the attributes that it holds."""

    attributes: tuple[str, ...]
    optional: tuple[str, ...] = ()
    """Those of the attributes that may be None while the column is not null."""

    @abstractmethod
    def types(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The `pyarrow.DataType` of each column, for such values of the attributes."""

    @abstractmethod
    def store(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What stands in each column for the values of the attributes."""

    @abstractmethod
    def load(self, cells: Cells) -> dict[str, Any]:
        """The values of the attributes, made of what stands in the columns."""


class Scalar(TypedColumn):
    """One value, such as a number or a text.

    Args:
        name: of the column and of the attribute.
        kind: of the value.
        nullable: whether it may be None.
    """

    def __init__(self, name: str, kind: Kind, *, nullable: bool = False) -> None:
        self.name, self.kind, self.nullable = _free(name), kind, nullable
        self.attributes = (name,)

    def types(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The kind's."""
        return {self.name: self.kind.arrow()}

    def store(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The value."""
        value = values[self.name]
        return {self.name: None if value is None else self.kind.store([value])[0]}

    def load(self, cells: Cells) -> dict[str, Any]:
        """The value."""
        value = cells.get(self.name) if self.nullable else cells[self.name]
        if not self.nullable and not (self.kind.floating and isinstance(value, float)):  # of which NaN is one
            value = cells.needed(self.name)
        return {self.name: None if value is None else self.kind.load([value])[0]}


@dataclass(frozen=True)
class Field:
    """A field of the structs in a column.

    Attributes:
        name: of the field.
        kind: of its values.
        attribute: whose values it holds, one a struct.
        part: which column of the attribute, if that is an `(N, parts)` array.
        optional: whether the attribute may be None; then the field is null in each struct.
    """

    name: str
    kind: Kind
    attribute: str
    part: int | None = None
    optional: bool = False


class Structs(TypedColumn):
    """A list of structs, whose fields are attributes of one length.

    Args:
        name: of the column.
        fields: of its structs.
    """

    def __init__(self, name: str, *fields: Field) -> None:
        self.name, self.fields = _free(name), fields
        self.attributes = tuple(dict.fromkeys(field.attribute for field in fields))
        self.optional = tuple(dict.fromkeys(field.attribute for field in fields if field.optional))

    def types(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A list of structs."""
        import pyarrow as pa

        return {self.name: pa.list_(pa.struct([(field.name, field.kind.arrow()) for field in self.fields]))}

    def store(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A dict for each struct."""
        count = next(len(values[name]) for name in self.attributes if values[name] is not None)
        columns = []
        for field in self.fields:
            held = values[field.attribute]
            if held is None:
                columns.append([None] * count)
            else:
                columns.append(field.kind.store(held if field.part is None else held[:, field.part]))
        names = [field.name for field in self.fields]
        return {self.name: [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}

    def load(self, cells: Cells) -> dict[str, Any]:
        """The attributes as lists; None for those that were."""
        columns = cells.fields(self.name, [field.name for field in self.fields])
        given = set(cells.needed(GIVEN)) if self.optional else set()
        loaded: dict[str, Any] = {}
        parts: dict[str, list[list[Any]]] = {}
        for field, column in zip(self.fields, columns, strict=True):
            if field.optional and field.attribute not in given:
                loaded[field.attribute] = None
            elif field.part is None:
                loaded[field.attribute] = field.kind.load(column)
            else:
                parts.setdefault(field.attribute, []).append(field.kind.load(column))
        return loaded | {name: list(zip(*columns, strict=True)) for name, columns in parts.items()}


class Array(TypedColumn):
    """A float32 array: its numbers, and its shape in a column beside them.

    An array with one axis is a list of fixed size.

    Args:
        name: of the column and of the attribute.
        nullable: whether it may be None.
    """

    def __init__(self, name: str, *, nullable: bool = False) -> None:
        self.name, self.shape, self.nullable = _free(name), f"{_free(name)}_shape", nullable
        self.attributes = (name,)

    def types(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A list of numbers, and one of the lengths of the axes."""
        import pyarrow as pa

        array = values[self.name]
        sizes = [len(array)] if array is not None and array.ndim == 1 else []
        return {self.name: pa.list_(pa.float32(), *sizes), self.shape: pa.list_(pa.int64())}

    def store(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The numbers in one row, and the shape."""
        array = values[self.name]
        if array is None:
            return {self.name: None, self.shape: None}
        return {self.name: floats(array), self.shape: list(array.shape)}

    def load(self, cells: Cells) -> dict[str, Any]:
        """The array."""
        get = cells.get if self.nullable else cells.needed
        numbers, shape = get(self.name), get(self.shape)
        if numbers is None:
            return {self.name: None}
        return {self.name: shaped(np.array(numbers, np.float32), shape)}


class Arrays(TypedColumn):
    """A mapping of arrays of any types by their names, such as a model's outputs, as a list of structs.

    Args:
        name: of the column and of the attribute.
    """

    def __init__(self, name: str) -> None:
        self.name = _free(name)
        self.attributes = (name,)

    def types(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A list of structs, whose numbers are of the type that holds those of all arrays."""
        import pyarrow as pa

        numbers = pa.from_numpy_dtype(_common(values[self.name]))
        fields = {"name": pa.string(), "dtype": pa.string(), "shape": pa.list_(pa.int64()), "values": pa.list_(numbers)}
        return {self.name: pa.list_(pa.struct(list(fields.items())))}

    def store(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A struct for each array.

        Raises:
            ValueError: no type of numbers holds those of all arrays.
        """
        arrays = {name: np.asarray(array) for name, array in values[self.name].items()}
        common = _common(arrays)
        stored = []
        for name, text in zip(arrays, TEXT.store(list(arrays)), strict=True):
            array = arrays[name]
            numbers = array.ravel().astype(common)
            if not np.array_equal(numbers.astype(array.dtype), array.ravel(), equal_nan=array.dtype.kind in "fc"):
                raise ValueError(
                    f"{self.name} has arrays whose numbers {common} does not hold exactly, {name!r} for one"
                )
            stored.append({"name": text, "dtype": array.dtype.name, "shape": list(array.shape), "values": numbers})
        return {self.name: stored}

    def load(self, cells: Cells) -> dict[str, Any]:
        """The arrays by name."""
        names, *rest = cells.fields(self.name, ["name", "dtype", "shape", "values"])
        arrays = [
            shaped(np.array(values).astype(numbers_of(dtype)), shape)
            for dtype, shape, values in zip(*rest, strict=True)
        ]
        return {self.name: dict(zip(TEXT.load(names), arrays, strict=True))}


class WholeJson(TypedColumn):
    """The whole result as JSON, in `result`: of a class that names no columns."""

    attributes = ("to_json",)

    def types(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A text."""
        return {"result": TEXT.arrow()}

    def store(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What `to_json()` gives."""
        return {"result": TEXT.store([values["to_json"]()])[0]}

    def load(self, cells: Cells) -> dict[str, Any]:
        """Nothing.

        Raises:
            ValueError: always; JSON tells no attributes.
        """
        raise ValueError(
            f"a {cells.of} is not made of a row, since its class names no columns; json.loads(row['result']) is its "
            "to_dict(). To have it, give the class columns = (…), of sensorium.results.columns"
        )


def schema(columns: Sequence[TypedColumn], values: Mapping[str, Any]) -> Any:
    """The `pyarrow.Schema` of columns that hold such values."""
    import pyarrow as pa

    types = {name: kind for column in columns for name, kind in column.types(values).items()}
    if _optional(columns):
        types[GIVEN] = pa.list_(pa.string())
    return pa.schema(list(types.items()))


def store(columns: Sequence[TypedColumn], values: Mapping[str, Any]) -> dict[str, Any]:
    """One row of columns."""
    row = {name: cell for column in columns for name, cell in column.store(values).items()}
    optional = _optional(columns)
    return row | {GIVEN: [name for name in optional if values[name] is not None]} if optional else row


def load(columns: Sequence[TypedColumn], cells: Cells) -> dict[str, Any]:
    """The values of the attributes, made of one row.

    Raises:
        ValueError: a column is missing, or null where it may not be.
    """
    return {name: value for column in columns for name, value in column.load(cells).items()}


def _optional(columns: Sequence[TypedColumn]) -> list[str]:
    return [name for column in columns for name in column.optional]


def _common(arrays: Mapping[str, Any]) -> np.dtype[Any]:
    return np.result_type(*(array.dtype for array in arrays.values())) if arrays else np.dtype(np.float32)


def _free(name: str) -> str:
    if name in TAKEN or name == GIVEN or name.startswith("carried_"):
        raise ValueError(f"a result's column cannot be called {name!r}, which a table of results has already")
    return name
