"""`sensorium run TASK INPUT…`: one command a task, made when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from sensorium.cli.catalogue import REQUIRED, OptionCard, TaskCard, cards_of, known_tasks, task_card
from sensorium.cli.inputs import media_kind
from sensorium.cli.options import parameter, read_all
from sensorium.cli.running import Run
from sensorium.cli.settings import OutputSettings, PipelineSettings
from sensorium.cli.telling import told
from sensorium.errors import UnknownNameError
from sensorium.processors.limits import MediaLimits

_PIPELINE, _OUTPUT, _LIMITS = (cards_of(settings) for settings in (PipelineSettings, OutputSettings, MediaLimits))
_GENERAL = (*_PIPELINE, *_OUTPUT, *_LIMITS)
_SHORT = {"model": "m", "output": "o"}
_INPUT_HELP = "Files, folders (searched to any depth), globs and URLs; - reads one a line from standard input."


class TaskCommands(typer.core.TyperGroup):
    """The commands of `sensorium run`: every task, its options taken from its own Options class."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The tasks' names."""
        return known_tasks()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a task; None for an option, which typer refuses.

        Raises:
            typer.BadParameter: there is no such task; names the nearest one.
        """
        if cmd_name.startswith("-"):
            return None
        try:
            return task_command(task_card(cmd_name))
        except UnknownNameError as error:
            raise typer.BadParameter(str(error)) from None


def task_command(card: TaskCard) -> Any:
    """Builds the command that runs a task."""
    flags = _flags(card)

    def run(**given: Any) -> None:
        with told(debug=bool(given["debug"])):
            options = {name: given[flag.replace("-", "_")] for name, flag in flags.items()}
            code = Run(
                card,
                given["inputs"],
                _named_inputs(card, given),
                read_all(card.options, options),
                PipelineSettings(**read_all(_PIPELINE, given)),
                OutputSettings(**read_all(_OUTPUT, given)),
                MediaLimits(**read_all(_LIMITS, given)),
            ).run()
            raise typer.Exit(code)

    words = Annotated[list[str], typer.Argument(metavar="INPUT...", help=_INPUT_HELP, show_default=False)]
    parameters = [
        inspect.Parameter("inputs", inspect.Parameter.KEYWORD_ONLY, annotation=words),
        *(parameter(option) for option in _input_options(card)),
        *(parameter(option, flag=flags[option.name]) for option in card.options),
        *(parameter(option, short=_SHORT.get(option.name)) for option in _GENERAL),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    default = f" Runs {card.default} unless --model names another." if card.default else ""
    app.command(card.name, help=f"{card.summary[:1].upper()}{card.summary[1:]}.{default}")(run)
    return typer.main.get_command(app)


def _input_options(card: TaskCard) -> Iterator[OptionCard]:
    """The inputs after the first, which are options here: the same for every INPUT, and text or JSON."""
    for name in card.inputs[1:]:
        source = "" if media_kind(name) else "; @FILE takes it from a text file"
        yield OptionCard(name, str, REQUIRED, f"the {name.replace('_', ' ')} for every INPUT{source}.")
    for name in card.optional_inputs:
        yield OptionCard(name, Any, None, f"the {name.replace('_', ' ')} for every INPUT, as JSON.")


def _named_inputs(card: TaskCard, given: Mapping[str, Any]) -> dict[str, Any]:
    named = read_all(tuple(_input_options(card)), given)
    texts = {name for name in card.inputs[1:] if media_kind(name) is None and named[name].startswith("@")}
    return {name: _from_file(name, value) if name in texts else value for name, value in named.items()}


def _from_file(name: str, value: str) -> str:
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--{name} {value}: a text file in UTF-8 is expected ({error})") from None


def _flags(card: TaskCard) -> dict[str, str]:
    """The names of a task's options on the command line; one that bears a general option's name is told apart."""
    taken = {option.name for option in _GENERAL} | {"inputs", *card.inputs, *card.optional_inputs}
    return {o.name: ("option-" if o.name in taken else "") + o.name.replace("_", "-") for o in card.options}
