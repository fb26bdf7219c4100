"""What a task has to show for the contract test, a `CONTRACT` in its own test module; and how results are compared."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

ROUNDING = 5e-5
"""How far a float32 result may move with its neighbours, or with where its model lies in memory.

Kernels are chosen by the size of the batch and, in some libraries, by the alignment of the weights; each adds up the
same products in another order. On many chips it happens to be the same one: equality to the bit is no promise. A
product that is off by two units in its last place moves the tiny models' hidden states, of about 1, by 1.5e-5.
"""


@dataclass(frozen=True)
class Opened:
    """How the contract test gets hold of the sessions of a task that opens any.

    Attributes:
        raw: makes what `Task.open` takes.
        ask: asks a session, and gives what compares like `to_dict()`; takes the pipeline, too.
        call: a call of the pipeline that gives the same.
        build: as `Contract.build`, where the model of that opens none.
    """

    raw: Callable[[], Any]
    ask: Callable[[Any, Any], Any]
    call: Callable[[Any], Any]
    build: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Contract:
    """How the contract test gets hold of a task.

    Attributes:
        build: builds a small float32 CPU pipeline; takes the settings of `pipeline()`.
        inputs: makes at least four good raw inputs, of several sizes.
        bad: raw inputs that must each be an `InputError`.
        options: sets of options to try; the empty one is always tried.
        close: compares two `to_dict()`, instead of number by number; for results that rounding may move by a pixel.
        opened: for tasks that override `Task.open`.
        tolerance: how far a result may move with its neighbours in the batch: float32 rounding.
    """

    build: Callable[..., Any]
    inputs: Callable[[], Sequence[Any]]
    bad: Sequence[Any]
    options: Sequence[dict[str, Any]] = field(default_factory=tuple)
    opened: Opened | None = None
    tolerance: float = ROUNDING
    close: Callable[[Any, Any, float], None] | None = None


def assert_close(a: Any, b: Any, tolerance: float = ROUNDING) -> None:
    """Compares two `to_dict()` of any depth: floats to the tolerance, absolute or relative, and all else exactly."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_close(a[key], b[key], tolerance)
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_close(x, y, tolerance)
    elif isinstance(a, float):
        assert a == pytest.approx(b, abs=tolerance, rel=tolerance)
    else:
        assert a == b


def assert_same_object(a: Any, b: Any) -> None:
    """Compares two results in all that is public of them: types, values to the bit, dtypes and shapes."""
    assert a.to_dict() == b.to_dict()
    assert a.source == b.source
    _assert_same(_attributes(a), _attributes(b))
    if type(a).__eq__ is not object.__eq__:
        assert a == b


def _attributes(result: Any) -> dict[str, Any]:
    slots = {name for kind in type(result).__mro__ for name in getattr(kind, "__slots__", ())}
    names = slots | getattr(result, "__dict__", {}).keys()
    return {name: getattr(result, name) for name in names if not name.startswith("_")}


def _assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            _assert_same(x, y)
    elif hasattr(a, "dtype"):  # a text's dtype tells the longest of those that a longer list had, too
        x, y = np.asarray(a), np.asarray(b)
        assert x.dtype == y.dtype or x.dtype.kind == y.dtype.kind == "U"
        assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    else:
        assert a == b


@contextlib.contextmanager
def ignored(warning: str) -> Iterator[None]:
    """Lets a warning pass that a model is known to give, such as that its processor's recipe is not read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", re.escape(warning))
        yield
