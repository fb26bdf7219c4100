"""A typed column for a picture's pixels: bytes, where a list of numbers would be an object each in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sensorium.results.cells import Cells
from sensorium.results.columns import TypedColumn
from sensorium.results.kinds import shaped

_DTYPES: dict[str, np.dtype[Any]] = {"uint8": np.dtype("<u1"), "uint16": np.dtype("<u2")}


class Pixels(TypedColumn):
    """A uint8 or uint16 array: its bytes, row by row and little-endian, and its shape and dtype in columns beside them.

    Args:
        name: of the column and of the attribute.
    """

    def __init__(self, name: str) -> None:
        self.name, self.shape, self.dtype = name, f"{name}_shape", f"{name}_dtype"
        self.attributes = (name,)

    def types(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Bytes, a list of whole numbers, and a text."""
        import pyarrow as pa

        return {self.name: pa.large_binary(), self.shape: pa.list_(pa.int64()), self.dtype: pa.string()}

    def store(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The array's bytes."""
        array = values[self.name]
        name = array.dtype.name
        return {self.name: array.astype(_DTYPES[name]).tobytes(), self.shape: list(array.shape), self.dtype: name}

    def load(self, cells: Cells) -> dict[str, Any]:
        """The array.

        Raises:
            ValueError: it is of another dtype, or its shape is not one of as many numbers.
        """
        data, shape, name = (cells.needed(each) for each in (self.name, self.shape, self.dtype))
        if name not in _DTYPES or not isinstance(data, bytes) or len(data) % _DTYPES[name].itemsize:
            raise ValueError(f"the column {self.name!r} is no array of {' or '.join(_DTYPES)}, but of {name!r:.50}")
        numbers = np.frombuffer(data, _DTYPES[name]).astype(np.dtype(name))
        return {self.name: shaped(numbers, shape)}
