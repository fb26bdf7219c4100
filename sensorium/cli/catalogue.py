"""What the command line says of tasks, read from their files without importing them.

Importing a task takes seconds, for it imports torch. Its file says the same in milliseconds: the class's name, summary
and default, and the fields of its Options. A task that cannot be read so (its Options come from elsewhere, a default
is computed) is imported after all, and so is one that was registered at run time.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import UnknownNameError
from sensorium.tasks import class_name, task_files

REQUIRED = dataclasses.MISSING
_FACTS = ("summary", "default", "inputs", "optional_inputs")


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
    """

    name: str
    summary: str
    default: str | None
    inputs: tuple[str, ...]
    options: tuple[OptionCard, ...]
    optional_inputs: tuple[str, ...] = ()


def task_card(name: str) -> TaskCard:
    """The card of one task.

    Raises:
        UnknownNameError: there is no such task; names the nearest one.
    """
    path = task_files().get(name)
    if path is None:
        if "sensorium.tasks.base" not in sys.modules:  # then nobody can have registered a task of his own
            raise UnknownNameError("task", name, known_tasks())
        return _from_class(name)
    return _from_source(name, path) or _from_class(name)


def known_tasks() -> list[str]:
    """The names of all tasks, those registered at run time included."""
    base = sys.modules.get("sensorium.tasks.base")
    return sorted({*task_files(), *(base.all_tasks() if base else ())})


def cards_of(options: type[Any]) -> tuple[OptionCard, ...]:
    """The cards of an options dataclass's fields."""
    hints, helps = typing.get_type_hints(options), _attribute_texts(inspect.getdoc(options) or "")
    return tuple(
        OptionCard(field.name, hints[field.name], _default(field), helps.get(field.name, ""))
        for field in dataclasses.fields(options)
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _from_class(name: str) -> TaskCard:
    from sensorium.tasks.base import get_task

    task = get_task(name)
    return TaskCard(task.name, task.summary, task.default, task.inputs, cards_of(task.options), task.optional_inputs)


def _from_source(name: str, path: Path) -> TaskCard | None:
    """Reads a task's file; None where only importing it would tell."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    values = dict(_assignments(classes[class_name(name)].body))
    try:
        facts = {key: ast.literal_eval(values[key]) for key in _FACTS if key in values}
        options = _options_from_source(tree, classes, values.get("options"))
    except (ValueError, NameError, TypeError, KeyError):  # computed, inherited, or of types imported from elsewhere
        return None
    if "summary" not in facts:
        return None
    inputs, optional = facts.get("inputs", ("image",)), facts.get("optional_inputs", ())
    return TaskCard(name, facts["summary"], facts.get("default"), inputs, options, optional)


def _options_from_source(
    tree: ast.Module, classes: dict[str, ast.ClassDef], named: ast.expr | None
) -> tuple[OptionCard, ...]:
    """The fields of the Options class; any error means that it has to be imported."""
    if named is None:
        return ()
    node = classes[ast.unparse(named)]
    if [ast.unparse(base) for base in node.bases] != ["Options"]:
        raise ValueError("the fields of another class are inherited")
    names: dict[str, Any] = {"Literal": typing.Literal, "Any": Any}
    for alias, value in _assignments(tree.body):
        if isinstance(value, ast.Subscript) and ast.unparse(value.value) == "Literal":
            names[alias] = _evaluate(value, names)
    helps = _attribute_texts(ast.get_docstring(node) or "")
    cards = []
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            default = REQUIRED if field.value is None else ast.literal_eval(field.value)
            option = field.target.id
            cards.append(OptionCard(option, _evaluate(field.annotation, names), default, helps.get(option, "")))
    return tuple(cards)


def _evaluate(annotation: ast.expr, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(annotation), "<annotation>", "eval"), dict(names))


def _assignments(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _attribute_texts(docstring: str) -> dict[str, str]:
    """The texts of a Google docstring's `Attributes:` section by name."""
    _, _, section = docstring.partition("\nAttributes:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line.strip() and not line.startswith(" "):
            break
        if found := re.match(r"    (\w+): (.*)", line):
            name = found[1]
            texts[name] = found[2].strip()
        elif name and line.strip():
            texts[name] += " " + line.strip()
    return texts
