"""Command-line options derived from dataclasses: their fields, types, defaults and docstrings."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
import typer.main

from sensorium.tasks.catalogue import REQUIRED, OptionCard


def command(name: str, run: Callable[..., None], parameters: Sequence[inspect.Parameter], *, help: str) -> Any:
    """Makes the command that calls `run` with its parameters by name."""
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, help=help)(run)
    return typer.main.get_command(app)


def argument(name: str, metavar: str, help: str, *, several: bool = False, required: bool = True) -> inspect.Parameter:
    """The parameter from which typer makes an argument: a text, or several."""
    wanted: Any = list[str] if several else str
    default: Any = inspect.Parameter.empty
    if not required:
        wanted, default = wanted | None, None
    annotation = Annotated[wanted, typer.Argument(metavar=metavar, help=help, show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def parameter(card: OptionCard, *, flag: str | None = None, short: str | None = None) -> inspect.Parameter:
    """The parameter from which typer makes an option.

    Values arrive as text, and None means not given, so that defaults stay where they are declared; `read` turns them
    into what the field's type says.

    Args:
        card: the option.
        flag: its name without dashes, where it is not that of the field.
        short: a letter for it.
    """
    name = flag or card.name.replace("_", "-")
    wanted: Any = list[str] if _element(card.hint) else str
    declaration = f"--{name}"
    if _is_flag(card.hint):
        wanted = bool
        declaration += "" if card.default is False else f"/--no-{name}"
    option = typer.Option(
        declaration,
        *([f"-{short}"] if short else []),
        help=_help(card),
        metavar=None if _is_flag(card.hint) else _metavar(card.hint),
        show_default=False,
    )
    required = card.default is REQUIRED
    return inspect.Parameter(
        flag.replace("-", "_") if flag else card.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[wanted if required else wanted | None, option],
    )


def read(card: OptionCard, value: Any) -> Any:
    """Turns what was given on the command line into a value of the field's type.

    Raises:
        typer.BadParameter: the text is no value of that type.
    """
    if isinstance(value, bool):
        return value
    element = _element(card.hint)
    if element is not None:
        return tuple(_convert(card, element, text) for text in value)
    return _convert(card, card.hint, value)


def read_all(cards: tuple[OptionCard, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of those options that were given, by field name."""
    return {c.name: read(c, values[c.name]) for c in cards if values.get(c.name) not in (None, [], ())}


def _convert(card: OptionCard, hint: Any, text: str) -> Any:
    for member in sorted(_members(hint), key=_rank):
        if get_origin(member) is Literal:
            for choice in get_args(member):
                if text == str(choice):
                    return choice
        elif member is NoneType:
            if text.lower() == "none":
                return None
        elif member is str:
            return text
        else:
            try:
                return member(text) if member in (int, float) else json.loads(text)
            except ValueError:
                continue
    raise typer.BadParameter(f"--{card.name.replace('_', '-')} takes {_metavar(hint)}, got {text!r}")


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _rank(member: Any) -> int:
    """The order in which a text is tried: the narrowest type first, any text last."""
    if get_origin(member) is Literal:
        return 0
    order = [NoneType, int, float]
    return 5 if member is str else 1 + order.index(member) if member in order else 4


def _element(hint: Any) -> Any:
    """The T of `tuple[T, ...]`, else None."""
    for member in _members(hint):
        if get_origin(member) is tuple and get_args(member)[-1] is Ellipsis:
            return get_args(member)[0]
    return None


def _is_flag(hint: Any) -> bool:
    return set(_members(hint)) <= {bool, NoneType}


def _metavar(hint: Any) -> str:
    names: list[str] = []
    for member in _members(_element(hint) or hint):
        if get_origin(member) is Literal:
            names += [str(choice) for choice in get_args(member)]
        else:
            names.append({int: "INT", float: "NUMBER", str: "TEXT", NoneType: ""}.get(member, "JSON"))
    return "|".join(name for name in names if name)


def _help(card: OptionCard) -> str:
    text = card.help[:1].upper() + card.help[1:]
    notes = []
    if _element(card.hint) is not None:
        notes.append("may be given several times")
    if NoneType in _members(card.hint) and card.default is not None and not _is_flag(card.hint):
        notes.append('"none" for None')
    if card.default is True:
        notes.append("default: on")
    elif card.default not in (None, False, (), REQUIRED):
        notes.append(f"default: {_shown(card.default)}")
    return f"{text} [{'; '.join(notes)}]" if notes else text


def _shown(default: Any) -> str:
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
