"""`sensorium run TASK INPUT…`: one command per task, made when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from sensorium.cli.options import argument, command, parameter, read_all
from sensorium.cli.running import TaskRun
from sensorium.cli.settings import IndexSettings, InputSettings, OutputSettings, PipelineSettings
from sensorium.cli.task_options import (
    LIMITS,
    OUTPUT,
    SHORT,
    Cards,
    files_of,
    flags_of,
    index_cards,
    input_options,
    named_inputs,
    options_of,
    pipeline_cards,
)
from sensorium.cli.telling import told
from sensorium.processors.folders import media_kind
from sensorium.processors.limits import MediaLimits
from sensorium.tasks.catalogue import TaskCard

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
            index = IndexSettings(**read_all(index_cards(card), arguments)) if arguments.get("index") else None
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


def _general(card: TaskCard) -> Cards:
    return (*index_cards(card), *pipeline_cards(card), *files_of(card), *OUTPUT, *LIMITS)


def _as_job(card: TaskCard, flags: Mapping[str, str], arguments: Mapping[str, Any]) -> str:
    from sensorium.cli.jobs.suggesting import job_command

    return job_command(card, flags, arguments)
