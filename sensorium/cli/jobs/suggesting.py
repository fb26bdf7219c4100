"""The job that does what a long `sensorium run` does, as a command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from sensorium.cli.jobs.commands import job_flags
from sensorium.cli.task_options import files_of, input_options, pipeline_cards
from sensorium.tasks.catalogue import TaskCard

MANY = 5
"""Inputs that are written out; more, such as a shell makes of a glob, stand there as INPUT..."""


def job_command(card: TaskCard, flags: Mapping[str, str], arguments: Mapping[str, Any]) -> str:
    """The command line of `sensorium job run`.

    Args:
        card: the task.
        flags: the flags that the task's options have in `sensorium run`, by their names.
        arguments: what was given to it, as text.
    """
    of_options, of_limits = job_flags(card)
    same = [*input_options(card), *pipeline_cards(card), *(each for each in files_of(card) if each.name == "exclude")]
    given = [(each.name.replace("_", "-"), arguments.get(each.name)) for each in same]
    given += [("index", arguments.get("index"))]
    given += [(of_options[name], arguments.get(flag.replace("-", "_"))) for name, flag in flags.items()]
    given += [(flag, arguments.get(name)) for name, flag in of_limits.items()]
    told = [word for flag, value in given for word in _words(flag, value)]
    inputs = shlex.join(arguments["inputs"]) if len(arguments["inputs"]) <= MANY else "INPUT..."
    return f"sensorium job run {card.name} {inputs} {shlex.join([*told, '--out', f'runs/{card.name}'])}"


def _words(flag: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"--{flag}" if value else f"--no-{flag}"
    elif value is not None:
        for each in value if isinstance(value, (list, tuple)) else [value]:
            yield from (f"--{flag}", str(each))
