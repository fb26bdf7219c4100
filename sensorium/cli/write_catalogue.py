"""Writes what `catalogue` reads: `python -m sensorium.cli.write_catalogue`."""

from __future__ import annotations

import json
import types
import typing
from typing import Any, Literal

from sensorium.tasks import task_files
from sensorium.tasks.catalogue import FILE, REQUIRED, TYPES, OptionCard, TaskCard, card_of_class

COMMAND = f"python -m {__spec__.name}"


def catalogue() -> str:
    """The text of the file, of all tasks in `sensorium/tasks`, which are imported."""
    entries = {name: _entry(card_of_class(name)) for name in task_files()}
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _entry(card: TaskCard) -> dict[str, Any]:
    return {
        "summary": card.summary,
        "default": card.default,
        "inputs": card.inputs,
        "optional_inputs": card.optional_inputs,
        "searches": card.searches,
        "options": {option.name: _facts(option) for option in card.options},
    }


def _facts(option: OptionCard) -> dict[str, Any]:
    default = {} if option.default is REQUIRED else {"default": option.default}
    return {"types": _written(option.hint), **default, "help": option.help}


def _written(hint: Any) -> list[Any]:
    """How the file writes a type: by the members of a union; see `catalogue._type_from`."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [_member(member) for member in (typing.get_args(hint) if union else (hint,))]


def _member(member: Any) -> Any:
    arguments = typing.get_args(member)
    if typing.get_origin(member) is Literal:
        return {"one of": arguments}
    if typing.get_origin(member) is tuple and arguments[1:] == (...,):
        return {"several": _written(arguments[0])}
    return next((name for name, known in TYPES.items() if known is member), "JSON")


if __name__ == "__main__":
    FILE.write_text(catalogue(), encoding="utf-8")
