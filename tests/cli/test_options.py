"""From a dataclass's fields to options, and from their text to values."""

from __future__ import annotations

from typing import Literal

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from sensorium.cli.options import read, read_all
from sensorium.tasks.catalogue import REQUIRED, OptionCard


def card(hint, default=None):
    return OptionCard("some_option", hint, default, "help")


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "5", 5),
        (int | None, "none", None),
        (int | None, "7", 7),
        (float, "2", 2.0),
        (float, "1e-3", 1e-3),
        (str, "5", "5"),
        (int | str, "1", 1),
        (int | str, "cuda:1", "cuda:1"),
        (int | str | None, "None", None),
        (Literal["softmax", "none"] | None, "none", "none"),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        (int | Literal["auto"], "auto", "auto"),
        (int | Literal["auto"], "8", 8),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (bool, True, True),
        (tuple[int, ...], ["1", "-2"], (1, -2)),
        (tuple[int | str, ...], ["0", "stage1"], (0, "stage1")),
    ],
)
def test_values_are_of_the_fields_type(hint, text, value):
    got = read(card(hint), text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("hint", "text", "says"),
    [
        (int, "many", "INT, got 'many'"),
        (int, "1.5", "INT, got '1.5'"),
        (Literal["softmax", "none"], "sofmax", "softmax|none, got 'sofmax'"),
        (int | Literal["auto"], "automatic", "INT|auto, got 'automatic'"),
        (dict, "{", "JSON, got '{'"),
    ],
)
def test_what_is_no_value_is_refused(hint, text, says):
    with pytest.raises(typer.BadParameter) as caught:
        read(card(hint), text)
    assert f"--some-option takes {says}" in str(caught.value)


@given(st.integers(), st.floats(allow_nan=False), st.lists(st.integers()))
def test_numbers_come_through(whole, real, many):
    assert read(card(int), str(whole)) == whole
    assert read(card(float), repr(real)) == real
    assert read(card(tuple[int, ...]), [str(number) for number in many]) == tuple(many)


def test_what_is_not_given_is_left_to_the_defaults():
    cards = (card(int, 5), OptionCard("other", tuple[int, ...], (), ""), OptionCard("third", str, REQUIRED, ""))
    assert read_all(cards, {"some_option": None, "other": [], "third": "x"}) == {"third": "x"}


def test_help_shows_what_the_dataclass_says(sensorium):
    shown = " ".join(sensorium("run", "image-classification", "--help").stdout.split())
    assert "--top-k INT How many labels to give, best first;" in shown
    assert '["none" for None; default: 5]' in shown
    assert "--function-to-apply softmax|sigmoid|none" in shown
    assert "--compile / --no-compile" in shown
    assert "--max-pixels INT" in shown


def test_a_tasks_own_options_stand_beside_the_general_ones(sensorium):
    shown = sensorium("run", "image-feature-extraction", "--help").stdout
    assert "--return-tensors np|pt" in shown
    assert "-o, --output TEXT" in shown


def test_every_input_but_the_first_is_a_required_option(sensorium, windows):
    got = sensorium("run", "text-windows", "[1]", "--model", windows)
    assert got.exit_code == 2
    assert "--question" in got.stderr
