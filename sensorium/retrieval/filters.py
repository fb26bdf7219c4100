"""Filters: which passages may be found, by what their columns hold. How values compare is decided here alone.

- Numbers compare as numbers, whatever their column's width: 2005.0 is 2005, and 2005.5 is no whole number. A float that
  is asked of a column of shorter floats is rounded as those were. True and False are no numbers, and NaN is not asked.
- Texts compare with texts, by code points. Of times and dates an ISO text may be asked, since JSON has nothing else.
- A list is asked for what it contains: `"x"` meets lists in which it is, and `{"!=": "x"}` all others.
- None is asked of passages without a value. They meet no other comparison but `"!="`.
- What is of another kind than the column is an error. A column without any value has no kind.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from sensorium.errors import OptionError, UnknownNameError
from sensorium.retrieval.column_types import is_list, kind_of

EXAMPLES = '{"title": "Faust"}, {"year": [1808, 1832]} or {"year": {">=": 1808, "<": 1832}}'

_ORDERS = {"<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
OPERATORS = ("=", "!=", *_ORDERS)
_TYPES = pa.types
_TIMES = (str, datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


def rows_that_meet(table: pa.Table, condition: Any) -> NDArray[np.bool_]:
    """Which rows of a table meet a condition.

    Args:
        table: the passages.
        condition: a mapping from columns to a value, to a list of values of which one is met, or to a mapping from
            comparisons (`"="`, `"!="`, `"<"`, `"<="`, `">"`, `">="`) to what is compared with, all of which are met; or
            an expression of `pyarrow.compute`, which compares as that does.

    Returns:
        `(N,)` bool.

    Raises:
        UnknownNameError: there is no such column; names the nearest one.
        OptionError: the condition is of the wrong kind, or does not suit a column's.
    """
    if isinstance(condition, pc.Expression):
        return _by_expression(table, condition)
    if not isinstance(condition, Mapping):
        raise OptionError(
            f"where is a mapping such as {EXAMPLES}, or an expression of pyarrow.compute, got "
            f"{type(condition).__name__}"
        )
    mask = np.ones(len(table), dtype=np.bool_)
    for name, wanted in condition.items():
        if name not in table.column_names:
            raise UnknownNameError("column of the passages", str(name), table.column_names)
        for operator, values in _comparisons(name, wanted):
            mask &= _Column(name, table[name]).meets(operator, values)
    return mask


def _by_expression(table: pa.Table, expression: pc.Expression) -> NDArray[np.bool_]:
    rows = pa.array(np.arange(len(table)))
    try:
        dataset = ds.dataset(table.append_column("\0row", rows))
        kept = dataset.to_table(columns=["\0row"], filter=expression)["\0row"].to_numpy()  # copies no text
    except (pa.ArrowException, TypeError) as error:
        raise OptionError(f"where={expression} does not suit the passages: {error}") from error
    mask = np.zeros(len(table), dtype=np.bool_)
    mask[kept] = True
    return mask


def _comparisons(name: str, wanted: Any) -> list[tuple[str, list[Any]]]:
    if not isinstance(wanted, Mapping):
        return [("=", _listed(wanted))]
    if not wanted:
        raise OptionError(f"where: {name} is compared with nothing; expected one of {', '.join(OPERATORS)}, got {{}}")
    for operator in wanted:
        if operator not in OPERATORS:
            raise OptionError(f"where: {name} is compared by one of {', '.join(OPERATORS)}, got {operator!r}")
    return [(operator, _listed(values)) for operator, values in wanted.items()]


def _listed(wanted: Any) -> list[Any]:
    several = isinstance(wanted, Collection) and not isinstance(wanted, (str, bytes, Mapping))
    values = list(wanted) if several else [wanted]
    return [value.item() if isinstance(value, (np.number, np.bool_)) else value for value in values]


class _Column:
    """A column that is compared.

    Args:
        name: for messages.
        values: what it holds.
    """

    def __init__(self, name: str, values: pa.ChunkedArray) -> None:
        self.name, self.values, self.type = name, values, values.type

    def meets(self, operator: str, wanted: Sequence[Any]) -> NDArray[np.bool_]:
        """Which rows stand so to what is wanted: to one of several values, or to none of them."""
        if operator == "!=":
            return ~self.meets("=", wanted)
        if operator in _ORDERS and len(wanted) != 1:
            raise OptionError(f"where: {self.name} {operator} compares with one value, got {len(wanted)}")
        mask = np.zeros(len(self.values), dtype=np.bool_)
        for value in wanted:
            if value is None:
                mask |= self._without_value(operator)
        known = [value for value in wanted if value is not None]
        if not known or _TYPES.is_null(self.type):
            return mask
        return mask | (self._lists(operator, known) if is_list(self.type) else self._compared(operator, known))

    def _without_value(self, operator: str) -> NDArray[np.bool_]:
        if operator != "=":
            raise OptionError(f'where: {self.name} {operator} None has no meaning; None goes with "=" and "!="')
        return _mask(self.values.is_null())

    def _lists(self, operator: str, wanted: Sequence[Any]) -> NDArray[np.bool_]:
        """Rows whose list contains one of the values."""
        if operator != "=":
            raise self._refusal(f"{operator} {wanted[0]!r}, and lists are asked for what they contain: a value or None")
        flat = pc.list_flatten(self.values)
        inner = _Column(self.name, flat if isinstance(flat, pa.ChunkedArray) else pa.chunked_array([flat]))
        inner.type = self.type.value_type
        if is_list(inner.type):
            raise self._refusal(f"{wanted[0]!r}; lists of lists cannot be asked")
        mask = np.zeros(len(self.values), dtype=np.bool_)
        lengths = np.nan_to_num(pc.list_value_length(self.values).to_numpy()).astype(np.int64)
        mask[np.repeat(np.arange(len(mask)), lengths)[inner.meets("=", wanted)]] = True
        return mask

    def _compared(self, operator: str, wanted: Sequence[Any]) -> NDArray[np.bool_]:
        if _TYPES.is_integer(self.type) or _TYPES.is_floating(self.type):
            numbers = [self._checked(value, (int, float)) for value in wanted]
            if any(isinstance(number, float) and math.isnan(number) for number in numbers):
                raise OptionError(f"where: {self.name} is compared with NaN, which equals nothing; leave it out")
            if operator == "=":
                return self._is_in([held for number in numbers for held in self._held(number)])
            return self._ordered(operator, numbers[0])
        scalars = [self._scalar(value) for value in wanted]
        if operator == "=":
            return self._is_in([scalar.as_py() for scalar in scalars])
        if _TYPES.is_boolean(self.type):
            raise self._refusal(f"{operator} {wanted[0]!r}; they have no order")
        return _mask(_ORDERS[operator](self.values, scalars[0]))

    def _is_in(self, values: list[Any]) -> NDArray[np.bool_]:
        column = self.values.cast(pa.float64()) if _TYPES.is_floating(self.type) else self.values
        return _mask(pc.is_in(column, pa.array(values, column.type)))

    def _held(self, number: float) -> list[float]:
        """A number as the column holds it; nothing where it cannot."""
        if _TYPES.is_integer(self.type):
            least, most = _bounds(self.type)
            return [int(number)] if least <= number <= most and number == int(number) else []
        held = _nearest(number, self.type)
        if isinstance(number, int) and held != number:
            return []
        return [0.0, -0.0] if held == 0 else [held]  # which are equal, and two values of a set

    def _ordered(self, operator: str, number: float) -> NDArray[np.bool_]:
        below = operator[0] == "<"
        if _TYPES.is_integer(self.type):
            return self._ordered_whole(operator, number)
        bound = _nearest(number, self.type)
        if isinstance(number, int) and bound != number:  # no float is that number: each is above or below it
            operator = operator[0] if (bound > number) == below else f"{operator[0]}="
        return _mask(_ORDERS[operator](self.values.cast(pa.float64()), pa.scalar(bound)))

    def _ordered_whole(self, operator: str, number: float) -> NDArray[np.bool_]:
        """The bound is made a whole number that is met itself, and one that the column can hold."""
        least, most = _bounds(self.type)
        below = operator[0] == "<"
        if isinstance(number, float) and math.isinf(number):
            bound = most + 1 if number > 0 else least - 1
        elif below:
            bound = math.floor(number) if operator == "<=" else math.ceil(number) - 1
        else:
            bound = math.ceil(number) if operator == ">=" else math.floor(number) + 1
        if (bound < least) if below else (bound > most):
            return np.zeros(len(self.values), dtype=np.bool_)
        clipped = pa.scalar(min(max(bound, least), most), self.type)
        return _mask((pc.less_equal if below else pc.greater_equal)(self.values, clipped))

    def _scalar(self, value: Any) -> pa.Scalar:
        """A value as the column holds it; of another kind it is refused, and never turned into that."""
        if _TYPES.is_boolean(self.type):
            value = self._checked(value, (bool,))
        if _TYPES.is_string(self.type) or _TYPES.is_large_string(self.type):
            value = self._checked(value, (str,))
        if _TYPES.is_struct(self.type) or _TYPES.is_map(self.type):
            raise self._refusal(f"{value!r}; mappings cannot be asked")
        if _TYPES.is_temporal(self.type):
            value = self._time(self._checked(value, _TIMES))
        try:
            return pa.scalar(value, self.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise self._refusal(f"{value!r} ({type(value).__name__})") from error

    def _time(self, value: Any) -> Any:
        """A time or date, also as an ISO text, of the kind that the column has."""
        dates, stamps = _TYPES.is_date(self.type), _TYPES.is_timestamp(self.type)
        if isinstance(value, str) and (dates or stamps or _TYPES.is_time(self.type)):
            kind = datetime.date if dates else datetime.datetime if stamps else datetime.time
            try:
                value = kind.fromisoformat(value)
            except ValueError as error:
                raise self._refusal(f"{value!r}, which is no date or time as ISO 8601 has them") from error
        if stamps and type(value) is datetime.date:
            value = datetime.datetime.combine(value, datetime.time(), datetime.UTC if self.type.tz else None)
        wrong = dates and isinstance(value, datetime.datetime)
        if stamps and isinstance(value, datetime.datetime):
            wrong = (value.tzinfo is None) != (self.type.tz is None)
        if wrong:
            raise self._refusal(f"{value!r}; expected one of that kind, with a time zone only where those have one")
        return value

    def _checked(self, value: Any, kinds: tuple[type, ...]) -> Any:
        if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)):
            return value
        raise self._refusal(f"{value!r} ({type(value).__name__})")

    def _refusal(self, got: str) -> OptionError:
        return OptionError(f"where: {self.name} holds {kind_of(self.type)}, got {got}")


def _mask(values: Any) -> NDArray[np.bool_]:
    """True where a comparison is met; what has no value meets none."""
    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=np.bool_)


def _bounds(column: pa.DataType) -> tuple[int, int]:
    """The least and the largest whole number that a column can hold."""
    info = np.iinfo(column.to_pandas_dtype())
    return int(info.min), int(info.max)


def _nearest(number: float, column: pa.DataType) -> float:
    """The float64 nearest to a whole number of any size; a float as the column rounds it."""
    if isinstance(number, int):
        try:
            return float(number)
        except OverflowError:
            return math.inf if number > 0 else -math.inf
    with np.errstate(over="ignore"):
        return float(np.dtype(column.to_pandas_dtype()).type(number))
