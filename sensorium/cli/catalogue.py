"""What the command line says of tasks, read from their files without importing them.

Importing a task takes seconds, for it imports torch. Its file says the same in milliseconds: the class's name, summary
and default, and the fields of its Options. A task that cannot be read so (its Options come from elsewhere, a default
is computed) is imported after all, and so is one that was registered at run time.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    values = _values(tree, classes, classes[class_name(name)])
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
    helps = _attribute_texts(ast.get_docstring(node) or "")
    fields = _fields(tree, classes, node)
    return tuple(OptionCard(name, hint, default, helps.get(name, "")) for name, (hint, default) in fields.items())


def _fields(tree: ast.Module, classes: dict[str, ast.ClassDef], node: ast.ClassDef) -> dict[str, tuple[Any, Any]]:
    """Types and defaults of an options class's fields by name, those of its bases in the package first."""
    fields: dict[str, tuple[Any, Any]] = {}
    for base in map(ast.unparse, node.bases):
        if base == "Options":
            continue
        if base in classes:
            fields |= _fields(tree, classes, classes[base])
            continue
        there = ast.parse(_module_of(tree, base).read_text(encoding="utf-8"))
        others = {each.name: each for each in there.body if isinstance(each, ast.ClassDef)}
        fields |= _fields(there, others, others[base])
    names = {"Literal": typing.Literal, "Any": Any, "Mapping": Mapping, "Sequence": Sequence}
    for alias, value in _assignments(tree.body):
        if isinstance(value, ast.BinOp) or (isinstance(value, ast.Subscript) and ast.unparse(value.value) == "Literal"):
            with contextlib.suppress(NameError, TypeError):  # a sum of numbers, or types from elsewhere
                names[alias] = _evaluate(value, names)
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            default = REQUIRED if field.value is None else _evaluate(field.value, {"__builtins__": {}})
            fields[field.target.id] = (_evaluate(field.annotation, names), default)
    return fields


def _values(tree: ast.Module, classes: dict[str, ast.ClassDef], node: ast.ClassDef) -> dict[str, ast.expr]:
    """What a task's class assigns, and what it inherits from its bases in the package."""
    values: dict[str, ast.expr] = {}
    for base in map(ast.unparse, node.bases):
        if base in classes:
            values |= _values(tree, classes, classes[base])
            continue
        with contextlib.suppress(ValueError, KeyError):  # not of the package
            there = ast.parse(_module_of(tree, base).read_text(encoding="utf-8"))
            others = {each.name: each for each in there.body if isinstance(each, ast.ClassDef)}
            values |= _values(there, others, others[base])
    return values | dict(_assignments(node.body))


def _module_of(tree: ast.Module, name: str) -> Path:
    """The file of the package that a name is imported from."""
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("sensorium."):
            continue
        if any(alias.name == name and alias.asname is None for alias in node.names):
            return Path(__file__).parents[1].joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
    raise ValueError(f"{name} is not defined in the package")


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
