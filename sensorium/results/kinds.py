"""What one value in a typed column is: how Arrow calls it, and how values are stored and brought back exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.surrogates import as_they_were, storable
from sensorium.results.tables import plain


@dataclass(frozen=True)
class Kind:
    """What each value of a column, or of a field in one, is.

    Attributes:
        arrow: gives the `pyarrow.DataType`.
        store: takes N values, an array or a sequence, and gives N that Arrow takes.
        load: takes what Arrow gives of them, and gives the N values.
        floating: whether NaN is a value.
    """

    arrow: Callable[[], Any]
    store: Callable[[Any], list[Any]]
    load: Callable[[Sequence[Any]], list[Any]]
    floating: bool = False


def number(alias: str, *, missing: float | None = None) -> Kind:
    """Numbers of one type.

    Args:
        alias: Arrow's name of the type, such as "float32".
        missing: the number that stands for none, which is null in the column; NaN or a whole number.
    """
    python = bool if alias == "bool" else int if "int" in alias else float

    def store(values: Any) -> list[Any]:
        listed = _listed(values)
        return listed if missing is None else [None if _same(value, missing) else value for value in listed]

    def load(values: Sequence[Any]) -> list[Any]:
        return [missing if value is None else python(value) for value in values]

    return Kind(lambda: _type(alias), store, load, floating=python is float)


def _same(value: float, other: float) -> bool:
    return value == other or (math.isnan(value) and math.isnan(other))


def lists(of: Kind) -> Kind:
    """Values that are lists themselves."""
    return Kind(
        lambda: _arrow().list_(of.arrow()),
        lambda values: [of.store(each) for each in values],
        lambda values: [of.load(_listed(each)) for each in values],
    )


def _stored_array(array: Any) -> dict[str, Any]:
    return {"shape": list(array.shape), "values": floats(array)}


def _loaded_array(stored: Mapping[str, Any]) -> NDArray[np.float32]:
    return shaped(np.array(stored["values"], np.float32), stored["shape"])


def shaped(values: NDArray[Any], shape: Sequence[Any]) -> NDArray[Any]:
    """Numbers of one row in the shape that stands beside them.

    Raises:
        ValueError: the shape is not one of as many numbers.
    """
    sides = [int(side) for side in shape]
    if any(side < 0 for side in sides) or math.prod(sides) != values.size or len(sides) > _MAX_AXES:
        raise ValueError(f"{values.size} numbers do not have the shape {sides!r:.100}")
    return values.reshape(sides)


def numbers_of(name: str) -> np.dtype[Any]:
    """The type of numbers of this name, of which no other is read: a text's could be of any length.

    Raises:
        ValueError: it is none of numbers.
    """
    if name not in _NUMBERS:
        raise ValueError(f"expected a type of numbers, got {name!r:.50}")
    return np.dtype(name)


def floats(array: Any) -> NDArray[np.float32]:
    """The numbers of a float32 array or tensor, in one row.

    Raises:
        ValueError: they are of another type, which the column would round.
    """
    values = np.asarray(array)
    if values.dtype != np.float32:
        raise ValueError(f"a column holds float32 exactly, got an array of {values.dtype}; convert it with astype")
    return values.ravel()


_MAX_AXES = 64  # NumPy's own limit
_NUMBERS = frozenset(np.dtype(code).name for code in "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"])

_PASSAGE = {"id": "string", "text": "string", "title": "string", "source": "string", "start": "int64", "end": "int64"}
"""The fields that a passage in a table always has; what else it has is JSON in `more`."""


def _fits(value: Any, alias: str) -> bool:
    if alias == "int64":
        return value is None or (type(value) is int and -(2**63) <= value < 2**63)
    return value is None or type(value) is str


def _stored_passage(passage: Mapping[str, Any]) -> dict[str, Any]:
    entries = plain(passage)
    typed = {name: entries.get(name) for name in _PASSAGE}
    fitting = {name for name, alias in _PASSAGE.items() if _fits(typed[name], alias)}
    further = {name: value for name, value in entries.items() if name not in fitting}
    row = {name: value if name in fitting else None for name, value in typed.items()}
    if "id" not in fitting:  # a number's digits are of use in a table
        row["id"] = str(typed["id"])
    names = list(entries)
    more = further if names == _names(further) else [further, names]
    return row | {"more": json.dumps(more, ensure_ascii=False) if more else None}


def _loaded_passage(stored: Mapping[str, Any]) -> dict[str, Any]:
    more = json.loads(stored["more"]) if isinstance(stored["more"], str) else {}
    further, names = more if isinstance(more, list) else (more, _names(more))
    typed = {name: _or_none(stored[name]) for name in _PASSAGE}
    typed |= {name: int(typed[name]) for name in ("start", "end") if typed[name] is not None}
    return {name: further[name] if name in further else typed[name] for name in names}


def _names(further: Mapping[str, Any]) -> list[str]:
    """The names of a passage's entries as they usually are: the typed ones, then the rest."""
    return [*_PASSAGE, *(name for name in further if name not in _PASSAGE)]


def _passages(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = [_stored_passage(each) for each in values]
    for name in ("id", "text", "title", "source", "more"):
        for row, text in zip(rows, storable([row[name] for row in rows]), strict=True):
            row[name] = text
    return rows


def _passages_again(values: Sequence[Any]) -> list[dict[str, Any]]:
    rows = [dict(each) for each in values]
    for name in ("id", "text", "title", "source", "more"):
        for row, text in zip(rows, as_they_were([row[name] for row in rows]), strict=True):
            row[name] = text
    return [_loaded_passage(row) for row in rows]


def _passage_type() -> Any:
    pa = _arrow()
    return pa.struct([(name, _type(alias)) for name, alias in (*_PASSAGE.items(), ("more", "string"))])


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value  # pandas may say NaN for null


def _listed(values: Any) -> list[Any]:
    found: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return found


def _type(alias: str) -> Any:
    return _arrow().type_for_alias(alias)


def _arrow() -> Any:
    import pyarrow

    return pyarrow


def _texts_again(stored: Sequence[Any]) -> list[Any]:
    texts = as_they_were(stored)
    if None in texts:
        raise ValueError("expected texts in this column, got something else, or nothing")
    return texts


TEXT = Kind(lambda: _type("string"), lambda values: storable(_listed(values)), _texts_again)
"""Texts of any characters."""

TEXT_OR_NONE = Kind(TEXT.arrow, TEXT.store, as_they_were)
"""Texts of any characters; None is null."""

FLOAT32, FLOAT64, INT64, BOOL = (number(alias) for alias in ("float32", "float64", "int64", "bool"))

SECONDS = number("float64", missing=math.nan)
"""Times, or NaN, which is null."""

OFFSET = number("int64", missing=-1)
"""Positions from 0, or -1, which is null."""

ARRAY = Kind(
    lambda: _arrow().struct([("shape", _arrow().list_(_type("int64"))), ("values", _arrow().list_(_type("float32")))]),
    lambda values: [_stored_array(each) for each in values],
    lambda values: [_loaded_array(each) for each in values],
)
"""float32 arrays of any shape."""

PASSAGE = Kind(_passage_type, _passages, _passages_again)
"""Passages as dicts; their further entries come back as `to_dict()` has them."""
