"""`sensorium run TASK INPUT…`: one command per task, made when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from sensorium.cli.options import argument, command, parameter, read_all
from sensorium.cli.running import TaskRun
from sensorium.cli.settings import IndexSettings, InputSettings, OutputSettings, PipelineSettings
from sensorium.cli.telling import told
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

_TEXTS_HELP = "Texts; - reads one per line from standard input."
_INPUT_HELP = "Files, folders (searched to any depth), globs and URLs; - reads one per line from standard input."


def task_command(card: TaskCard) -> Any:
    """Builds the command that runs a task."""
    options, general, further = options_of(card), _general(card), input_options(card)
    flags = flags_of(options, general, ("inputs", *card.inputs, *card.optional_inputs))
    all_flags = {**flags, **flags_of(general, ())}

    def run(**arguments: Any) -> None:
        with told(debug=bool(arguments["debug"]), flags=all_flags):
            named = named_inputs(card, further, arguments)
            index = IndexSettings(**read_all(_index(card), arguments)) if arguments.get("index") else None
            code = TaskRun(
                card,
                arguments["inputs"],
                named,
                read_all(options, {name: arguments[flag.replace("-", "_")] for name, flag in flags.items()}),
                PipelineSettings(**read_all(pipeline_cards(card), arguments)),
                OutputSettings(**read_all(OUTPUT, arguments)),
                MediaLimits(**read_all(LIMITS, arguments)),
                index,
                InputSettings(**read_all(files_of(card), arguments)),
                lambda: _as_job(card, flags, arguments),
            ).run()
            raise typer.Exit(code)

    parameters = [
        argument("inputs", "INPUT...", _INPUT_HELP if media_kind(card.inputs[0]) else _TEXTS_HELP, several=True),
        *(parameter(option) for option in further),
        *(parameter(option, flag=flags[option.name]) for option in options),
        *(parameter(option, short=SHORT.get(option.name)) for option in general),
    ]
    default = f" Runs {card.default} unless --model names another." if card.default else ""
    return command(card.name, run, parameters, help=f"{card.summary[:1].upper()}{card.summary[1:]}.{default}")


def _as_job(card: TaskCard, flags: Mapping[str, str], arguments: Mapping[str, Any]) -> str:
    from sensorium.cli.jobs.suggesting import job_command

    return job_command(card, flags, arguments)


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


def _general(card: TaskCard) -> Cards:
    return (*_index(card), *pipeline_cards(card), *files_of(card), *OUTPUT, *LIMITS)


def files_of(card: TaskCard) -> Cards:
    """What is said of inputs; which files are any, for tasks whose inputs are files."""
    return tuple(option for option in INPUT if option.name != "exclude" or media_kind(card.inputs[0]))


def _index(card: TaskCard) -> Cards:
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
    cards += [
        OptionCard(name, Any, None, f"the {name.replace('_', ' ')} for every INPUT, as JSON.")
        for name in card.optional_inputs
    ]
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
