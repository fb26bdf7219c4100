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
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sensorium.errors import UnknownNameError
from sensorium.tasks import class_name, task_files

REQUIRED = dataclasses.MISSING
_FACTS = ("summary", "default", "inputs", "optional_inputs")

Searches = Literal["always", "optionally"] | None
"""Whether a task searches an index: it is made of one, it takes one, or it knows none."""


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
    from sensorium.tasks.searching.search_task import SearchTask

    task = get_task(name)
    searches: Searches = "always" if issubclass(task, SearchTask) else None
    if searches is None and "index" in task.takes:
        searches = "optionally"
    options = cards_of(task.options)
    return TaskCard(task.name, task.summary, task.default, task.inputs, options, task.optional_inputs, searches)


@dataclass(frozen=True)
class _File:
    """A parsed file of the package, with its classes by name."""

    tree: ast.Module
    classes: dict[str, ast.ClassDef]

    @classmethod
    def read(cls, path: Path) -> _File:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return cls(tree, {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)})

    def find(self, name: str) -> tuple[_File, ast.ClassDef]:
        """A class that is defined here or imported from the package, with its file.

        Raises:
            ValueError, KeyError: it is neither.
        """
        file = self if name in self.classes else _imported(_module_of(self.tree, name))
        return file, file.classes[name]


@cache
def _imported(path: Path) -> _File:
    return _File.read(path)


def _from_source(name: str, path: Path) -> TaskCard | None:
    """Reads a task's file; None where only importing it would tell."""
    file = _File.read(path)
    node = file.classes[class_name(name)]
    values = _values(file, node)
    try:
        facts = {key: ast.literal_eval(values[key][1]) for key in _FACTS if key in values}
        options = _options_from_source(*values["options"]) if "options" in values else ()
    except (ValueError, NameError, TypeError, KeyError):  # computed, inherited, or of types imported from elsewhere
        return None
    if "summary" not in facts:
        return None
    inputs, optional = facts.get("inputs", ("image",)), facts.get("optional_inputs", ())
    return TaskCard(name, facts["summary"], facts.get("default"), inputs, options, optional, _searches(file, node))


def _options_from_source(file: _File, named: ast.expr) -> tuple[OptionCard, ...]:
    """The fields of the Options class that a file names; any error means that it has to be imported."""
    there, node = file.find(ast.unparse(named))
    helps = _attribute_texts(ast.get_docstring(node) or "")
    return tuple(OptionCard(n, hint, default, helps.get(n, "")) for n, (hint, default) in _fields(there, node).items())


def _fields(file: _File, node: ast.ClassDef) -> dict[str, tuple[Any, Any]]:
    """Types and defaults of an options class's fields by name, those of its bases in the package first."""
    fields: dict[str, tuple[Any, Any]] = {}
    for base in map(ast.unparse, node.bases):
        if base != "Options":
            fields |= _fields(*file.find(base))
    names = {"Literal": typing.Literal, "Any": Any, "Mapping": Mapping, "Sequence": Sequence}
    for alias, value in _assignments(file.tree.body):
        if isinstance(value, ast.BinOp) or (isinstance(value, ast.Subscript) and ast.unparse(value.value) == "Literal"):
            with contextlib.suppress(NameError, TypeError):  # a sum of numbers, or types from elsewhere
                names[alias] = _evaluate(value, names)
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            default = REQUIRED if field.value is None else _evaluate(field.value, {"__builtins__": {}})
            fields[field.target.id] = (_evaluate(field.annotation, names), default)
    return fields


def _values(file: _File, node: ast.ClassDef) -> dict[str, tuple[_File, ast.expr]]:
    """What a task's class assigns, and what it inherits from its bases in the package, each with its file."""
    values: dict[str, tuple[_File, ast.expr]] = {}
    for there, base in _bases(file, node):
        values |= _values(there, base)
    return values | {name: (file, value) for name, value in _assignments(node.body)}


def _searches(file: _File, node: ast.ClassDef) -> Searches:
    """Whether a task's class, or one of its bases, is made of an index or takes one."""
    if node.name == "SearchTask":
        return "always"
    if any(isinstance(each, ast.FunctionDef) and each.name == "search_in" for each in node.body):
        return "optionally"
    return next(filter(None, (_searches(there, base) for there, base in _bases(file, node))), None)


def _bases(file: _File, node: ast.ClassDef) -> Iterator[tuple[_File, ast.ClassDef]]:
    """The bases of a task's class in the package, but for Task itself."""
    for base in map(ast.unparse, node.bases):
        if base != "Task":
            with contextlib.suppress(ValueError, KeyError):  # not of the package
                yield file.find(base)


def _module_of(tree: ast.Module, name: str) -> Path:
    """The file of the package that a name is imported from."""
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("sensorium."):
            continue
        if any(alias.name == name and alias.asname is None for alias in node.names):
            path = Path(__file__).parents[1].joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
            if path.is_file():
                return path
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
