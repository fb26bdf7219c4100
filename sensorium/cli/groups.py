"""The groups `sensorium run`, `index` and `job`; a command's parts are imported when it is asked for.

`sensorium --help` shows the groups and none of their commands, and so reads none of the options that these have.
"""

from __future__ import annotations

from typing import Any

import typer
import typer.core

from sensorium.errors import UnknownNameError
from sensorium.tasks.catalogue import known_tasks, task_card


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
            return self._made(task_card(cmd_name))
        except UnknownNameError as error:
            raise typer.BadParameter(str(error)) from None

    def _made(self, card: Any) -> Any:
        from sensorium.cli.commands import task_command

        return task_command(card)


class IndexCommands(typer.core.TyperGroup):
    """The commands of `sensorium index`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands' names, in the order in which one uses them."""
        from sensorium.cli.indexes.commands import COMMANDS

        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; None for an option, which typer refuses.

        Raises:
            typer.BadParameter: there is no such command; names the nearest one.
        """
        from sensorium.cli.indexes.commands import COMMANDS

        if cmd_name.startswith("-"):
            return None
        if cmd_name not in COMMANDS:
            raise typer.BadParameter(str(UnknownNameError("command of sensorium index", cmd_name, COMMANDS)))
        return COMMANDS[cmd_name]()


class JobRunCommands(TaskCommands):
    """The commands of `sensorium job run`: every task."""

    def _made(self, card: Any) -> Any:
        from sensorium.cli.jobs.commands import run_command

        return run_command(card)


class JobCommands(typer.core.TyperGroup):
    """The commands of `sensorium job`; `run` is a group of its own."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands' names, in the order in which one uses them."""
        from sensorium.cli.jobs.commands import COMMANDS

        return ["run", *COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; None for an option, which typer refuses.

        Raises:
            typer.BadParameter: there is no such command; names the nearest one.
        """
        from sensorium.cli.jobs.commands import COMMANDS

        if cmd_name.startswith("-") or cmd_name == "run":
            return super().get_command(ctx, cmd_name)
        if cmd_name not in COMMANDS:
            raise typer.BadParameter(str(UnknownNameError("command of sensorium job", cmd_name, ["run", *COMMANDS])))
        return COMMANDS[cmd_name]()
