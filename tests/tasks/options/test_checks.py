"""What a value may be, by its type: what is taken, what is refused, and in which words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import OptionError
from sensorium.tasks.options import Count, Natural, Options, Positive, Range, Share, checked

INF = float("inf")


@pytest.mark.parametrize(
    ("hint", "taken", "refused", "said"),
    [
        (Count, [1, 7], [0, -1, True, 1.0, "3", None, INF], "a whole number from 1"),
        (Natural, [0, 1], [-1, False, 0.5, "0"], "a whole number from 0"),
        (int, [-3, 10**30], [True, 1.5, math.nan, "1"], "a whole number"),
        (float, [0, -1.5], [True, "1", math.nan, INF, -INF, 10**400, None], "a number"),
        (Positive, [1e-9, 3], [0, -1.0, math.nan, True], "a number above 0"),
        (Share, [0, 1, 0.5], [-0.1, 1.1, math.nan, True, "0.5"], "a number from 0 to 1"),
        (Count | None, [None, 2], [0, False, ""], "a whole number from 1, or None"),
        (bool, [True, False], [1, 0, "yes", None], "True or False"),
        (bool | None, [True, None], [1, "no"], "True or False, or None"),
        (str, ["", "a"], [1, None, b"a"], "a text (str)"),
        (Literal["a", "b"], ["a"], ["c", "", 1, None, ["a"], np.array(["a", "b"])], 'one of "a", "b"'),
        (Literal["a", "b"] | None, ["b", None], ["A"], 'one of "a", "b", or None'),
        (Literal[1, 2], [1], [3, True, 1.5], "one of 1, 2"),
        (bool | Literal["word"] | None, [True, "word", None], ["x", 1], 'one of "word", or True or False, or None'),
        (Annotated[float, Range(above=0, most=1)], [1], [0, 1.5], "a number above 0, at most 1"),
        (Annotated[float, Range(0, below=1)], [0, 0.99], [1], "a number from 0, less than 1"),
        (Annotated[float, Range(above=0, unit="seconds")], [0.1], [0], "a number of seconds above 0"),
        (Annotated[int, Range(1, 2048)], [2048], [2049, 0], "a whole number from 1 to 2,048"),
        (Annotated[int, Range(-1, special="-1 for all")], [-1], [-2], "a whole number from -1 (-1 for all)"),
        (
            Annotated[int | None, Range(1, none="all")],
            [None, 1],
            [0],
            "a whole number from 1, or None for all",
        ),
    ],
)
def test_what_is_taken_and_what_is_refused(hint, taken, refused, said):
    for value in taken:
        assert checked("x", value, hint) is value
    for value in refused:
        with pytest.raises(OptionError) as caught:
            checked("x", value, hint)
        assert str(caught.value) == f"x is {said}, got {value!r:.200}"


@pytest.mark.parametrize("hint", [Any, tuple[str, ...], Mapping[str, Any], tuple[int, ...] | float | None])
def test_other_types_are_left_alone(hint):
    anything = object()
    assert checked("x", anything, hint) is anything


@pytest.mark.parametrize(
    ("hint", "value", "plain"),
    [
        (Count, np.int64(5), 5),
        (Count, np.uint8(5), 5),
        (Share, np.float32(0.5), 0.5),
        (Share, np.float64(0.5), 0.5),
        (Share, np.int32(1), 1),
        (Share, Fraction(1, 2), 0.5),
    ],
)
def test_numbers_of_other_libraries_come_back_as_python_s(hint, value, plain):
    taken = checked("x", value, hint)
    assert taken == plain
    assert type(taken) is type(plain)


@pytest.mark.parametrize("value", [np.float32("nan"), np.float64("inf"), np.bool_(True), np.ones(1), torch.ones(1)])
def test_what_only_looks_like_a_number_is_refused(value):
    with pytest.raises(OptionError, match="x is a number from 0 to 1"):
        checked("x", value, Share)


@given(st.integers(), st.integers(-5, 5), st.integers(0, 5))
def test_a_range_holds_what_lies_in_it(value, least, width):
    hint = Annotated[int, Range(least, least + width)]
    if least <= value <= least + width:
        assert checked("x", value, hint) == value
    else:
        with pytest.raises(OptionError):
            checked("x", value, hint)


@dataclass(frozen=True)
class Settings(Options):
    """Options as a task declares them."""

    top_k: Count | None = 5
    pool: Literal["mean", "max"] = "mean"
    least: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k is not None and self.least > self.top_k:
            raise OptionError("least is at most top_k")


@dataclass(frozen=True)
class MoreSettings(Settings):
    """Options that inherit some."""

    share: Share = 0.5


def test_options_hold_their_fields_to_their_types():
    assert Settings.parse({"top_k": np.int64(3)}) == Settings(top_k=3)
    assert type(Settings(top_k=np.int64(3)).top_k) is int
    with pytest.raises(OptionError, match="top_k is a whole number from 1, or None, got True"):
        Settings.parse({"top_k": True})
    with pytest.raises(OptionError, match="least is at most top_k"):
        Settings(top_k=1, least=2)
    with pytest.raises(OptionError, match="pool"):
        MoreSettings(pool="sum")
    with pytest.raises(OptionError, match="share"):
        MoreSettings(share=2)
