"""What the command line knows of tasks without importing them is what importing them would tell."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
import types
import typing
from typing import Any, Literal

import pytest

from sensorium.cli import write_catalogue
from sensorium.cli.settings import IndexSettings, PipelineSettings
from sensorium.errors import UnknownNameError
from sensorium.tasks import catalogue
from sensorium.tasks.catalogue import REQUIRED, OptionCard, cards_of, known_tasks, task_card


def test_the_file_says_what_the_classes_say():
    renew = f"the catalogue is out of date; renew it: {write_catalogue.COMMAND}"
    assert catalogue.FILE.read_text(encoding="utf-8") == write_catalogue.catalogue(), renew


def test_every_task_is_in_the_file_with_a_word_on_each_option():
    assert sorted(catalogue.written()) == known_tasks()
    for card in catalogue.written().values():
        assert card.summary
        assert all(option.help for option in card.options), "the Options docstring says something of each option"


@pytest.mark.parametrize("name", sorted(catalogue.task_files()))
def test_a_card_from_the_file_is_that_of_the_class(name):
    """But for types that are read from JSON: of these the command line asks no more."""
    read, told = catalogue.written()[name], catalogue.card_of_class(name)
    assert dataclasses.replace(read, options=()) == dataclasses.replace(told, options=())
    for ours, theirs in zip(read.options, told.options, strict=True):
        assert dataclasses.replace(ours, hint=None) == dataclasses.replace(theirs, hint=None)
        assert type(ours.default) is type(theirs.default)
        assert members(ours.hint) == {
            member if member in PLAIN or parts(member) else Any for member in members(theirs.hint)
        }


PLAIN = {bool, int, float, str, types.NoneType}


def members(hint):
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return set(typing.get_args(hint)) if union else {hint}


def parts(hint):
    return typing.get_origin(hint) in (Literal, tuple)


def test_a_task_that_is_not_in_the_file_is_imported(monkeypatch):
    """Such as one whose file is new."""
    told = task_card("image-classification")
    others = {name: card for name, card in catalogue.written().items() if name != told.name}
    monkeypatch.setattr(catalogue, "written", lambda: others)
    assert task_card(told.name) == told
    assert told.name in known_tasks()


def test_the_command_line_tells_of_tasks_without_importing_a_framework():
    code = (
        "import sys; from sensorium.tasks.catalogue import known_tasks, task_card; "
        "cards = [*map(task_card, known_tasks())]; "
        "print(len(cards), [m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(catalogue.task_files())} []"


@pytest.mark.parametrize(
    ("hint", "default"),
    [
        (int, 3),
        (Literal["a", "b"] | None, None),
        (tuple[int, ...], (1, 2)),
        (tuple[int | str, ...], ()),
        (bool | Literal["word"] | None, REQUIRED),
        (float | tuple[float, ...] | None, 0.5),
    ],
)
def test_what_is_written_is_read_again(hint, default):
    card = OptionCard("kind", hint, default, "what it is.")
    facts = json.loads(json.dumps(write_catalogue._facts(card)))
    assert catalogue._option_from("kind", facts) == card


def test_a_registered_task_is_known_by_its_class(windows):
    assert "text-windows" in known_tasks()
    card = task_card("text-windows")
    assert card.inputs == ("series", "question")
    assert card.options == (
        OptionCard("scale", float, 1.0, "what each sum is multiplied by."),
        OptionCard("length", int, 4, "how long a window is; it may be no less than 1."),
    )


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'image-classification'"):
        task_card("image-clasification")


def test_cards_of_a_dataclass():
    @dataclasses.dataclass
    class Some:
        """A class.

        Attributes:
            a: what it is,
                in two lines: like this.
            b: another.

        Raises:
            c: not an attribute.
        """

        a: int
        b: tuple[str, ...] = ()
        c: list[int] = dataclasses.field(default_factory=list)

    Some.__annotations__ = {"a": int, "b": tuple[str, ...], "c": list[int]}
    assert cards_of(Some) == (
        OptionCard("a", int, REQUIRED, "what it is, in two lines: like this."),
        OptionCard("b", tuple[str, ...], (), "another."),
        OptionCard("c", list[int], [], ""),
    )


def test_settings_are_arguments_of_pipeline_with_its_defaults():
    from sensorium.pipelines.factory import pipeline

    parameters = inspect.signature(pipeline).parameters
    for field in dataclasses.fields(PipelineSettings):
        ours = "auto" if field.name == "compile" and field.default is None else field.default
        assert ours == parameters[field.name].default, field.name
    left_out = set(parameters) - {field.name for field in dataclasses.fields(PipelineSettings)}
    assert left_out == {
        "task",
        "limits",
        "token",
        "device_map",
        "quantization_config",
        "index",
        "reader",
        "detector",
        "progress",
    }
    assert "index" in {field.name for field in dataclasses.fields(IndexSettings)}, "a folder, for tasks that search"
    reader = inspect.getdoc(pipeline).partition("reader: ")[2].splitlines()[0]
    assert "model by its other name" in reader, "--model is reader, too"
