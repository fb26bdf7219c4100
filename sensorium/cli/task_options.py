"""The options of a task's commands, read from the classes that declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from sensorium.cli.options import read_all
from sensorium.cli.settings import IndexSettings, InputSettings, OutputSettings, PipelineSettings
from sensorium.processors.folders import media_kind
from sensorium.processors.limits import MediaLimits
from sensorium.tasks.catalogue import REQUIRED, OptionCard, TaskCard, cards_of

Cards = tuple[OptionCard, ...]

PIPELINE, OUTPUT, LIMITS, INDEX, INPUT = (
    cards_of(settings) for settings in (PipelineSettings, OutputSettings, MediaLimits, IndexSettings, InputSettings)
)
SHORT = {"model": "m", "output": "o"}
OF_A_MODEL = ("model", "processor", "revision")
"""Settings without a use for a task that is made of an index, whose encoder is known."""

_OF_SEARCHES: dict[str, dict[str, Any]] = {
    "reranker": {
        "hint": str | None,
        "help": "a cross-encoder, by name or folder, that reads queries with their best passages and reorders them.",
    },
    "where": {
        "help": 'which passages may be found: an object from columns to a value or a list of them, {"title": "Faust"}.'
    },
}


def options_of(card: TaskCard) -> Cards:
    """A task's options as the command line has them: a reranker is given by its name, and a filter as JSON."""
    if not card.searches:
        return card.options
    return tuple(replace(option, **_OF_SEARCHES.get(option.name, {})) for option in card.options)


def flags_of(options: Cards, general: Cards, inputs: tuple[str, ...] = ()) -> dict[str, str]:
    """The names of a task's options on the command line; one that bears a general option's name is told apart."""
    taken = {option.name for option in general} | {*inputs}
    return {o.name: ("option-" if o.name in taken else "") + o.name.replace("_", "-") for o in options}


def pipeline_cards(card: TaskCard) -> Cards:
    """The settings of a task's pipeline."""
    return tuple(option for option in PIPELINE if card.searches != "always" or option.name not in OF_A_MODEL)


def files_of(card: TaskCard) -> Cards:
    """What is said of inputs; which files are any, for tasks whose inputs are files."""
    return tuple(option for option in INPUT if option.name != "exclude" or media_kind(card.inputs[0]))


def index_cards(card: TaskCard) -> Cards:
    """Which index a task searches, where it searches one: to be given where it always does."""
    if card.searches != "always":
        return INDEX if card.searches else ()
    return tuple(replace(option, hint=str, default=REQUIRED) if option.name == "index" else option for option in INDEX)


def input_options(card: TaskCard) -> Cards:
    """The inputs after the first, which are options here: the same for every INPUT, and text or JSON."""
    cards = []
    for name in card.inputs[1:]:
        source = "" if media_kind(name) else "; @FILE takes it from a text file"
        text = f"the {name.replace('_', ' ')} for every INPUT{source}"
        if card.searches:
            cards.append(OptionCard(name, str | None, None, f"{text}; or --index, to find it there."))
        else:
            cards.append(OptionCard(name, str, REQUIRED, f"{text}."))
    for name in card.optional_inputs:
        hint, form = (Any, "as JSON") if media_kind(name) is None else (str, "a path or a URL")
        cards.append(OptionCard(name, hint, None, f"the {name.replace('_', ' ')} for every INPUT, {form}."))
    return tuple(cards)


def named_inputs(card: TaskCard, further: Cards, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that are the same for every INPUT, as they were given.

    Raises:
        typer.BadParameter: one cannot be read, or is given twice.
    """
    named = read_all(further, arguments)
    if card.searches == "optionally":
        _check_index_or_inputs(card, named, arguments)
    texts = {name for name in card.inputs[1:] if media_kind(name) is None and named.get(name, "").startswith("@")}
    return {name: _from_file(name, value) if name in texts else value for name, value in named.items()}


def _check_index_or_inputs(card: TaskCard, named: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Refuses both an index and the inputs that it would give, and neither of the two."""
    if arguments.get("index"):
        if named:
            raise typer.BadParameter(f"--index finds what --{next(iter(named))} would give; pass one of them")
        return
    for option in ("encoder", "query_model", "verify"):
        if arguments.get(option) is not None:
            raise typer.BadParameter(f"--{option.replace('_', '-')} says how --index is opened, which was not given")
    missing = [name for name in card.inputs[1:] if name not in named]
    if missing:
        raise typer.BadParameter(f"pass --{missing[0]} to have it read, or --index to have it found")


def _from_file(name: str, value: str) -> str:
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--{name} {value}: a text file in UTF-8 is expected ({error})") from None
