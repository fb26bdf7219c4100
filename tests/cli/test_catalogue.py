"""What the command line knows of tasks without importing them is what importing them would tell."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Literal

import pytest

from sensorium.cli import catalogue
from sensorium.cli.catalogue import REQUIRED, OptionCard, cards_of, known_tasks, task_card
from sensorium.cli.settings import IndexSettings, PipelineSettings
from sensorium.errors import UnknownNameError

FROM_FILES = sorted(catalogue.task_files())


def test_every_file_of_a_task_is_found():
    from sensorium.tasks.base import task_names

    assert task_names() == FROM_FILES


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_task_read_from_its_file_is_the_task(name):
    card = catalogue._from_source(name, catalogue.task_files()[name])
    assert card == catalogue._from_class(name)
    assert card.summary
    assert all(option.help for option in card.options), "the Options docstring says something of each option"


def test_what_cannot_be_read_from_a_file_is_left_to_importing(tmp_path):
    written = {
        "computed": 'class MadeUp(Task):\n    name = "made-up"\n    summary = "a" + "b"\n',
        "inherited": 'class MadeUp(Other):\n    name = "made-up"\n',
        "options from elsewhere": 'class MadeUp(Task):\n    summary = "x"\n    options = Elsewhere\n',
        "options of another": (
            "class MyOptions(OtherOptions):\n    x: int = 1\n"
            'class MadeUp(Task):\n    summary = "x"\n    options = MyOptions\n'
        ),
        "a type from elsewhere": (
            "class MyOptions(Options):\n    x: Tensor = 1\n"
            'class MadeUp(Task):\n    summary = "x"\n    options = MyOptions\n'
        ),
    }
    for why, text in written.items():
        path = tmp_path / "made_up.py"
        path.write_text(text)
        assert catalogue._from_source("made-up", path) is None, why


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
    assert left_out == {"task", "limits", "token", "device_map", "quantization_config", "index", "reader"}
    assert "index" in {field.name for field in dataclasses.fields(IndexSettings)}, "a folder, for tasks that search"
    reader = inspect.getdoc(pipeline).partition("reader: ")[2].splitlines()[0]
    assert "model by its other name" in reader, "--model is reader, too"


def test_literals_may_have_names(tmp_path):
    path = tmp_path / "made_up.py"
    path.write_text(
        'Kind = Literal["a", "b"]\n'
        "class MyOptions(Options):\n    kind: Kind | None = None\n    sizes: tuple[int, ...] = (1, 2)\n"
        'class MadeUp(Task):\n    summary = "x"\n    options = MyOptions\n    default = "org/name"\n'
    )
    card = catalogue._from_source("made-up", path)
    assert card.default == "org/name"
    assert card.options == (
        OptionCard("kind", Literal["a", "b"] | None, None, ""),
        OptionCard("sizes", tuple[int, ...], (1, 2), ""),
    )
