"""The command line: `sensorium run`, `sensorium index`, `sensorium job`, `sensorium tasks`, `sensorium doctor`.

`--help` is to answer in well under half a second, so nothing here imports torch or transformers before a command
needs it, tasks are described from a file (`catalogue`), and help is written without rich.
"""

from __future__ import annotations

import json as json_module
import sys
from typing import Annotated, Any

import typer

import sensorium
from sensorium.cli.groups import IndexCommands, JobCommands, JobRunCommands, TaskCommands
from sensorium.cli.process import OutputError, prepare
from sensorium.cli.telling import flushed, printable, tell_unwritten, told
from sensorium.tasks.catalogue import known_tasks, task_card

_HELP = (
    "Runs vision, audio and text models on files, folders and URLs: the same answers as Transformers and timm, faster."
)

_RUN_HELP = """Runs a task on files, folders, globs and URLs.

`sensorium run TASK --help` shows the options of a task. Prints one line per input (a table on a terminal). Exit code:
0; 1 if an input failed or the run could not begin; 2 for wrong options; 130 after Ctrl-C and 143 after SIGTERM, with
what was done so far kept.
"""

_INDEX_HELP = """Builds, searches and measures indexes of documents, passages, pictures and sounds.

`sensorium index build FOLDER --encoder starter/text-embedding --out IDX`, then `sensorium index search IDX "…"`. Exit
code: 0; 1 if an input failed or the command could not begin; 2 for wrong options; 130 after Ctrl-C and
143 after SIGTERM.
"""

_JOB_HELP = """Runs a task over very many inputs, in a folder that survives whatever stops it.

`sensorium job run TASK INPUT... --out FOLDER`; the same command goes on where it stopped. `sensorium job run TASK
--help` shows the options of a task. Exit code: 0; 1 if an input has no result or the command could not begin; 2 for
wrong options; 130 after Ctrl-C and 143 after SIGTERM, with what was done so far kept.
"""


def main() -> None:
    """Runs the command line on this process's arguments; the console script."""
    prepare()
    try:
        app(prog_name="sensorium")
        code: Any = 0
    except SystemExit as end:
        code = end.code
    except OutputError as error:
        code = tell_unwritten(error)
    sys.exit(flushed(code))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sensorium {sensorium.__version__}")
        raise typer.Exit


def _show_help(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(ctx.get_help())
        raise typer.Exit


# Groups have a help option of our own: to read the absence of typer's, typer imports pydantic, which would cost more
# than all the rest of `sensorium run TASK --help`.
Help = Annotated[bool, typer.Option("--help", help="Show this message and exit.", is_eager=True, callback=_show_help)]
Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
]

app = typer.Typer(
    help=_HELP,
    add_completion=False,
    add_help_option=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_runs = typer.Typer(
    cls=TaskCommands,
    help=_RUN_HELP,
    add_help_option=False,
    no_args_is_help=True,
    options_metavar="",
    subcommand_metavar="TASK INPUT... [OPTIONS]",
)
app.add_typer(_runs, name="run", short_help="Run a task on files, folders, globs and URLs.")
_indexes = typer.Typer(
    cls=IndexCommands,
    help=_INDEX_HELP,
    add_help_option=False,
    no_args_is_help=True,
    options_metavar="",
    subcommand_metavar="COMMAND INDEX|PATH... [OPTIONS]",
)
app.add_typer(_indexes, name="index", short_help="Build, search and measure an index.")
_jobs = typer.Typer(
    cls=JobCommands,
    help=_JOB_HELP,
    add_help_option=False,
    no_args_is_help=True,
    options_metavar="",
    subcommand_metavar="run TASK INPUT... --out FOLDER | COMMAND FOLDER [OPTIONS]",
)
app.add_typer(_jobs, name="job", short_help="Run a task over very many inputs, and go on where it stopped.")
_job_runs = typer.Typer(
    cls=JobRunCommands,
    help=_JOB_HELP,
    add_help_option=False,
    no_args_is_help=True,
    options_metavar="",
    subcommand_metavar="TASK INPUT... --out FOLDER [OPTIONS]",
)
_jobs.add_typer(_job_runs, name="run", short_help="Run a task on files, folders, globs, URLs and tables.")


@app.callback()
def _top(version: Version = False, help: Help = False) -> None:
    pass


@_runs.callback()
def _run(help: Help = False) -> None:
    pass


@_indexes.callback()
def _index(help: Help = False) -> None:
    pass


@_jobs.callback()
def _job(help: Help = False) -> None:
    pass


@_job_runs.callback()
def _job_run(help: Help = False) -> None:
    pass


@app.command("tasks", short_help="List the tasks with their default models.")
def tasks(json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the tasks, with the checkpoint that each runs by default."""
    with told(debug=False):
        cards = [task_card(name) for name in known_tasks()]
        rows = [{"name": c.name, "summary": c.summary, "default": c.default} for c in cards]
        if json:
            typer.echo(json_module.dumps(rows, ensure_ascii=False, indent=2))
        elif sys.stdout.isatty():
            _print_table(rows)
        else:
            for row in rows:
                typer.echo("\t".join(row[key] or "-" for key in row))


@app.command("doctor", short_help='Show versions, the machine, and what "auto" would choose.')
def doctor(
    online: Annotated[bool, typer.Option("--online", help="Ask whether the Hub can be reached.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show versions, the machine, and what "auto" would choose; exit code 1 if something is wrong."""
    from sensorium.cli.doctor import examine

    with told(debug=False):
        facts = examine(online=online)
        if json:
            typer.echo(json_module.dumps(facts, ensure_ascii=False, indent=2))
        else:
            for section, values in facts.items():
                _print_section(section, values)
        raise typer.Exit(1 if facts["problems"] else 0)


def _print_section(section: str, values: Any) -> None:
    if isinstance(values, list):
        for line in values:
            typer.echo(f"problem: {printable(line)}")
        return
    typer.echo(section)
    for name, value in values.items():
        shown = {None: "none", True: "yes", False: "no"}.get(value, value) if not isinstance(value, list) else value
        text = (", ".join(map(str, shown)) or "none") if isinstance(shown, list) else str(shown)
        typer.echo(f"  {name:<16} {printable(text)}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("task", "what it gives", "default model")
    for row in rows:
        table.add_row(Text(row["name"], style="bold"), Text(row["summary"]), Text(row["default"] or "-"))
    Console().print(table)
