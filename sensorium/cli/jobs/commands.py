"""The commands of `sensorium job`, each declared when it is asked for; what they do is imported when they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import typer

from sensorium.cli.jobs.settings import JobReportSettings, JobRunSettings, JobSettings, RefreshSettings
from sensorium.cli.options import argument, command, parameter, read_all
from sensorium.cli.settings import InputSettings, PipelineSettings
from sensorium.cli.task_options import LIMITS, SHORT, Cards, files_of, flags_of, input_options, named_inputs, options_of
from sensorium.cli.task_options import pipeline_cards as cards_of_pipeline
from sensorium.cli.telling import told
from sensorium.processors.limits import MediaLimits
from sensorium.tasks.catalogue import REQUIRED, OptionCard, TaskCard, cards_of

_JOB, _REFRESH, _RUN, _REPORT = (
    cards_of(settings) for settings in (JobSettings, RefreshSettings, JobRunSettings, JobReportSettings)
)
_FOLDER = argument("folder", "FOLDER", "The folder of a job, or its URL, as `sensorium job run --out` has made it.")
_CODES = OptionCard("code", tuple[str, ...], (), "an error to try again, such as missing-file; all unless given.")
_TO = OptionCard("to", str, REQUIRED, "the file to write: table.parquet, table.csv or table.jsonl.")
_ONLY = OptionCard(
    "status",
    Literal["ok", "failed", "quarantined"] | None,
    None,
    "write the rows with this status alone; all unless given.",
)
_OVERWRITE = OptionCard("overwrite", bool, False, "replace the file if it is there.")
_INPUT_HELP = (
    "Files, folders (searched to any depth), globs and URLs, also s3://… and the like; @FILE and - (or @-) read one a "
    "line from a file and from standard input; tables (.parquet, .csv, .jsonl, .arrow), whose rows are inputs; "
    "archives of samples (.tar)."
)


def run_command(card: TaskCard) -> Any:
    """Builds the command that runs a job of a task."""
    options, job, files = options_of(card), _job(card), _files(card)
    further = tuple(dataclasses.replace(c, default=None) for c in input_options(card))
    general = _general(card)
    flags, media = job_flags(card)

    def run_job(**arguments: Any) -> None:
        with told(debug=bool(arguments["debug"]), flags={**flags, **media, **flags_of(general, ())}):
            from sensorium.cli.jobs.running import JobRun

            run = JobRun(
                card,
                arguments["inputs"],
                named_inputs(card, further, arguments),
                read_all(options, _by_name(flags, arguments)),
                JobSettings(**read_all(job, arguments)),
                PipelineSettings(**read_all(cards_of_pipeline(card), arguments)),
                InputSettings(**read_all(files, arguments)),
                MediaLimits(**read_all(LIMITS, _by_name(media, arguments))),
                JobRunSettings(**read_all(_RUN, arguments)),
                RefreshSettings(**read_all(_REFRESH, arguments)),
            )
            raise typer.Exit(run.run())

    short = {**SHORT, "out": "o"}
    parameters = [
        argument("inputs", "INPUT...", _INPUT_HELP, several=True),
        *(parameter(option) for option in further),
        *(parameter(option, flag=flags[option.name]) for option in options),
        *(parameter(option, short=short.get(option.name)) for option in general),
        *(parameter(option, flag=media[option.name]) for option in LIMITS),
    ]
    text = f"{card.summary[:1].upper()}{card.summary[1:]}, as a job in a folder. The same command goes on."
    return command(card.name, run_job, parameters, help=text)


def job_flags(card: TaskCard) -> tuple[dict[str, str], dict[str, str]]:
    """The flags of a task's options, and of the limits of media, by their names, where a job is run."""
    general = _general(card)
    media = {name: flag.replace("option-", "media-") for name, flag in flags_of(LIMITS, general).items()}
    return flags_of(options_of(card), (*general, *LIMITS), ("inputs", *card.inputs, *card.optional_inputs)), media


def _general(card: TaskCard) -> Cards:
    return (*_job(card), *cards_of_pipeline(card), *_files(card), *_REFRESH, *_RUN)


def _job(card: TaskCard) -> Cards:
    return tuple(c for c in _JOB if c.name != "index" or card.searches)


def _files(card: TaskCard) -> Cards:
    return tuple(c for c in files_of(card) if c.name == "exclude")


def _status() -> Any:
    def run(**arguments: Any) -> int:
        from sensorium.cli.jobs.running import show_status

        return show_status(arguments["folder"], JobReportSettings(**read_all(_REPORT, arguments)))

    return _command("status", "Shows how a job stands. Its counts, and the codes of what failed.", run, _REPORT)


def _report() -> Any:
    debug = tuple(card for card in _REPORT if card.name == "debug")

    def run(**arguments: Any) -> int:
        from sensorium.cli.jobs.running import write_report

        return write_report(arguments["folder"])

    text = "Writes report.html into the folder. What was done, how fast, what failed, and what cost most."
    return _command("report", text, run, debug)


def _failures() -> Any:
    def run(**arguments: Any) -> int:
        from sensorium.cli.jobs.running import show_failures

        return show_failures(arguments["folder"], JobReportSettings(**read_all(_REPORT, arguments)))

    return _command("failures", "Lists the inputs without a result, a line each. With their errors.", run, _REPORT)


def _retry() -> Any:
    def run(**arguments: Any) -> int:
        from sensorium.cli.jobs.running import retry_job

        codes = read_all((_CODES,), arguments).get("code", ())
        return retry_job(arguments["folder"], codes, JobRunSettings(**read_all(_RUN, arguments)))

    text = "Does again what has failed, and what is still to be done. The other rows stay as they are."
    return _command("retry", text, run, (_CODES, *_RUN))


def _export() -> Any:
    cards = (_TO, _ONLY, _OVERWRITE, *(card for card in _REPORT if card.name == "debug"))

    def run(**arguments: Any) -> int:
        from sensorium.cli.jobs.exporting import export

        given = read_all(cards, arguments)
        return export(
            arguments["folder"], given["to"], status=given.get("status"), overwrite=given.get("overwrite", False)
        )

    text = "Writes the rows of a job to one file. Those of a .csv have lists and structs as JSON."
    return _command("export", text, run, cards)


COMMANDS: Mapping[str, Callable[[], Any]] = {
    "status": _status,
    "report": _report,
    "failures": _failures,
    "retry": _retry,
    "export": _export,
}
"""What makes each command of `sensorium job` but `run`, which has one for each task."""


def _by_name(flags: Mapping[str, str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What was given of options that have another flag than their name."""
    return {name: arguments[flag.replace("-", "_")] for name, flag in flags.items()}


def _command(name: str, text: str, run: Callable[..., int], options: Cards) -> Any:
    """A command on the folder of a job, whose `run` gives the exit code; its errors are reported."""

    def told_run(**arguments: Any) -> None:
        with told(debug=bool(arguments["debug"]), flags=flags_of(options, ())):
            raise typer.Exit(run(**arguments))

    return command(name, told_run, [_FOLDER, *(parameter(option) for option in options)], help=text)
