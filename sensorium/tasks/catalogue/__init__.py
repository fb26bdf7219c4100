"""What can be said of tasks without importing them.

Importing a task takes seconds, for it imports torch. `catalogue.json` says the same in milliseconds: each task's
summary, inputs, default and options. `python -m sensorium.cli.write_catalogue` writes it, and a test holds it to the
classes. A task that is not in it is imported: one whose file is new, and one that was registered at run time.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import operator
import re
import sys
import types
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sensorium.errors import UnknownNameError
from sensorium.tasks import task_files

REQUIRED = dataclasses.MISSING
FILE = Path(__file__).with_name("catalogue.json")
TYPES = {"bool": bool, "int": int, "float": float, "str": str, "None": types.NoneType, "JSON": Any}
"""The types of options by their names in the file; JSON is any other, which the command line reads as JSON."""

Searches = Literal["always", "optionally"] | None
"""Whether a task searches an index: always, optionally, or not at all."""


@dataclass(frozen=True)
class OptionCard:
    """One option.

    Attributes:
        name: in snake_case.
        hint: its type, as `typing` has it.
        default: its value where it is not given; `REQUIRED` where it must be.
        help: what its class's docstring says of it.
    """

    name: str
    hint: Any
    default: Any
    help: str


@dataclass(frozen=True)
class TaskCard:
    """What there is to know of a task before it is imported.

    Attributes:
        name: in kebab-case.
        summary: one line.
        default: the checkpoint that serves it where none is named, or None.
        inputs: the names of its inputs.
        optional_inputs: the names of those that may be left out.
        options: its options, in their order.
        searches: "always" for a task that is made of an index, "optionally" for one that finds further inputs in an
            index where it is given one, None for all others.
    """

    name: str
    summary: str
    default: str | None
    inputs: tuple[str, ...]
    options: tuple[OptionCard, ...]
    optional_inputs: tuple[str, ...] = ()
    searches: Searches = None


def task_card(name: str) -> TaskCard:
    """The card of one task.

    Raises:
        UnknownNameError: there is no such task; names the nearest one.
    """
    if name not in task_files():
        if "sensorium.tasks.base" not in sys.modules:  # then nobody can have registered a task
            raise UnknownNameError("task", name, known_tasks())
        return card_of_class(name)
    return written().get(name) or card_of_class(name)


def known_tasks() -> list[str]:
    """The names of all tasks, those registered at run time included."""
    base = sys.modules.get("sensorium.tasks.base")
    return sorted({*task_files(), *(base.all_tasks() if base else ())})


def cards_of(options: type[Any]) -> tuple[OptionCard, ...]:
    """The cards of an options dataclass's fields; what its docstring does not say, that of a class above it does."""
    hints = typing.get_type_hints(options)
    helps: dict[str, str] = {}
    for each in reversed(options.__mro__):
        helps |= _attribute_texts(inspect.cleandoc(each.__doc__ or ""))
    return tuple(
        OptionCard(field.name, hints[field.name], _default(field), helps.get(field.name, ""))
        for field in dataclasses.fields(options)
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def card_of_class(name: str) -> TaskCard:
    """The card of a task, which is imported."""
    from sensorium.tasks.base import get_task
    from sensorium.tasks.searching.search_task import SearchTask

    task = get_task(name)
    searches: Searches = "always" if issubclass(task, SearchTask) else None
    if searches is None and "index" in task.takes:
        searches = "optionally"
    options = cards_of(task.options)
    return TaskCard(task.name, task.summary, task.default, task.inputs, options, task.optional_inputs, searches)


@cache
def written() -> dict[str, TaskCard]:
    """The cards in the file that is checked in, by name."""
    entries = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: _task_from(name, entry) for name, entry in entries.items()}


def _task_from(name: str, entry: dict[str, Any]) -> TaskCard:
    options = tuple(_option_from(option, facts) for option, facts in entry["options"].items())
    inputs, optional = tuple(entry["inputs"]), tuple(entry["optional_inputs"])
    return TaskCard(name, entry["summary"], entry["default"], inputs, options, optional, entry["searches"])


def _option_from(name: str, facts: dict[str, Any]) -> OptionCard:
    default = facts.get("default", REQUIRED)
    default = tuple(default) if isinstance(default, list) else default
    return OptionCard(name, _type_from(facts["types"]), default, facts["help"])


def _type_from(members: list[Any]) -> Any:
    """A union of members: names, `{"one of": […]}` for a Literal, `{"several": members}` for a tuple of any length."""
    return functools.reduce(operator.or_, map(_member_from, members))


def _member_from(given: Any) -> Any:
    if isinstance(given, str):
        return TYPES[given]
    if "one of" in given:
        return Literal[tuple(given["one of"])]
    element: Any = _type_from(given["several"])
    return tuple.__class_getitem__((element, ...))


def _attribute_texts(docstring: str) -> dict[str, str]:
    """The texts of a Google docstring's `Attributes:` section by name."""
    _, _, section = docstring.partition("\nAttributes:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line.strip() and not line.startswith(" "):
            break
        if match := re.match(r"    (\w+): (.*)", line):
            name = match[1]
            texts[name] = match[2].strip()
        elif name and line.strip():
            texts[name] += " " + line.strip()
    return texts
