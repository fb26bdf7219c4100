"""What a value may be, read from its type: the one place that checks numbers, choices and flags."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import types
import typing
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal

from sensorium.errors import OptionError


@dataclass(frozen=True)
class Range:
    """The bounds of a number, beside its type: `Annotated[float, Range(0, 1)]`. None is no bound.

    Attributes:
        least: the smallest value.
        most: the largest value.
        above: a value that it has to exceed.
        below: a value that it must not reach.
        unit: what is counted, for the message: "px", "seconds".
        none: what None stands for where it is allowed, for the message: "all", "the checkpoint's own".
        special: what a single value stands for, for the message: "-1 for all".
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    unit: str = ""
    none: str = ""
    special: str = ""

    def holds(self, value: float) -> bool:
        """Whether the value lies between the bounds."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """`" of px from 0"`, as it follows "a number" in a message."""
        lower = "" if self.least is None else f" from {self.least:,}"
        lower += "" if self.above is None else f" above {self.above:,}"
        both = "to" if self.least is not None else "at most"
        upper = "" if self.most is None else f"{',' if both != 'to' and lower else ''} {both} {self.most:,}"
        upper += "" if self.below is None else f"{',' if lower else ''} less than {self.below:,}"
        return f"{' of ' + self.unit if self.unit else ''}{lower}{upper}{f' ({self.special})' if self.special else ''}"


Count = Annotated[int, Range(1)]
"""A whole number from 1."""
Natural = Annotated[int, Range(0)]
"""A whole number from 0."""
Positive = Annotated[float, Range(above=0)]
"""A number above 0."""
Share = Annotated[float, Range(0, 1)]
"""A number from 0 to 1."""


def checked(name: str, value: Any, hint: Any) -> Any:
    """Checks a value against a type.

    Args:
        name: of the value, for the message.
        value: what was given. A bool is not a number; NumPy's numbers are, and come back as Python's. No number is NaN
            or infinite.
        hint: made of bool, int, float, str, None and `Literal`, numbers maybe with a `Range`. Of any other type
            nothing is checked.

    Returns:
        The value.

    Raises:
        OptionError: it is something else; the message says what is expected.
    """
    check = _check_of(hint)
    return value if check is None else check.take(name, value)


def check_fields(settings: Any) -> None:
    """Checks the fields of a dataclass against their types, as `checked` does; for a `__post_init__`.

    Raises:
        OptionError: a field's value is not of its type; the message names the field.
    """
    for name, check in _checks_of(settings.__class__):
        given = getattr(settings, name)
        taken = check.take(name, given)
        if taken is not given:
            object.__setattr__(settings, name, taken)


def lower_case(settings: Any, name: str) -> None:
    """Writes a field of a frozen dataclass in small letters if it is a text, before its fields are checked."""
    given = getattr(settings, name)
    if isinstance(given, str):
        object.__setattr__(settings, name, given.lower())


@dataclass(frozen=True)
class _Check:
    """What a type allows.

    Attributes:
        kinds: those of bool, int, float and str that it is made of.
        choices: the values that it names.
        optional: whether it allows None.
        range: the bounds of its numbers.
    """

    kinds: frozenset[type] = frozenset()
    choices: tuple[Any, ...] = ()
    optional: bool = False
    range: Range = Range()

    def take(self, name: str, value: Any) -> Any:
        if value is None and self.optional:
            return None
        plain = isinstance(value, (bool, str))
        if plain and {bool, str} & self.kinds & set(type(value).__mro__):
            return value
        if any(_is_choice(value, one) for one in self.choices):
            return value
        if isinstance(value, Real) and not plain and self.kinds & {int, float}:
            number = self._number(value)
            if number is not None and self.range.holds(number):
                return number
        raise OptionError(f"{name} is {self}, got {value!r:.200}")

    def _number(self, value: Any) -> float | None:
        """The number in Python's own type; None where it is none of this kind, or not finite."""
        try:
            if isinstance(value, Integral) and (int in self.kinds or math.isfinite(value)):
                return operator.index(value)
            if float in self.kinds and math.isfinite(value):
                return value if type(value) is float else float(value)
        except OverflowError:  # too large for a float
            pass
        return None

    def __str__(self) -> str:
        kinds = [f"a whole number{self.range}"] if int in self.kinds else []
        kinds += [f"a number{self.range}"] if float in self.kinds else []
        kinds += ["a text (str)"] if str in self.kinds else []
        kinds += [f"one of {', '.join(map(_quoted, self.choices))}"] if self.choices else []
        kinds += ["True or False"] if bool in self.kinds else []
        meant = f"None for {self.range.none}" if self.range.none else "None"
        return ", or ".join([*kinds, *([meant] if self.optional else [])])


def _is_choice(value: Any, choice: Any) -> bool:
    """Whether they are equal and of one type: True is not 1."""
    return isinstance(value, type(choice)) and isinstance(value, bool) == isinstance(choice, bool) and value == choice


def _quoted(choice: Any) -> str:
    return f'"{choice}"' if isinstance(choice, str) else repr(choice)


@functools.cache
def _checks_of(settings: Any) -> list[tuple[str, _Check]]:
    hints = typing.get_type_hints(settings, include_extras=True)
    checks = ((field.name, _check_of(hints[field.name])) for field in dataclasses.fields(settings))
    return [(name, check) for name, check in checks if check is not None]


@functools.cache
def _check_of(hint: Any) -> _Check | None:
    """What a type allows; None where that is not for this to check."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in (bool, int, float, str):
        return _Check(kinds=frozenset([hint]))
    if hint is types.NoneType:
        return _Check(optional=True)
    if origin is Literal:
        return _Check(choices=parts)
    if origin is Annotated:
        inner, ranges = _check_of(parts[0]), [each for each in parts[1:] if isinstance(each, Range)]
        return dataclasses.replace(inner, range=ranges[0]) if inner is not None and ranges else inner
    if origin in (typing.Union, types.UnionType):
        return _any_of([_check_of(part) for part in parts])
    return None


def _any_of(checks: list[_Check | None]) -> _Check | None:
    joined = _Check()
    for check in checks:
        if check is None:
            return None
        joined = _Check(
            joined.kinds | check.kinds,
            joined.choices + check.choices,
            joined.optional or check.optional,
            check.range if check.range != Range() else joined.range,
        )
    return joined
