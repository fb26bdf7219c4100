"""`sensorium job run`, `status`, `failures` and `retry`."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sensorium.cli.jobs.settings import JobReportSettings, JobRunSettings, JobSettings, RefreshSettings
from sensorium.cli.process import exit_code
from sensorium.cli.settings import InputSettings, PipelineSettings
from sensorium.cli.telling import printable, say, wants_progress
from sensorium.jobs import Job, JobReport
from sensorium.jobs.settings import RunSettings
from sensorium.processors.limits import MediaLimits
from sensorium.tasks.catalogue import TaskCard


@dataclass
class JobRun:
    """One `sensorium job run`.

    Attributes:
        card: the task.
        words: the arguments that stand for inputs.
        named: the task's further inputs, the same for each of them.
        options: the task's options that were given.
        job: what the job is besides.
        pipeline: how its pipeline is built.
        inputs: which files of folders are inputs.
        limits: what an input may cost.
        settings: how it is run this time.
        refreshing: what is done about inputs that came, or changed, since.
    """

    card: TaskCard
    words: Sequence[str]
    named: Mapping[str, Any]
    options: Mapping[str, Any]
    job: JobSettings
    pipeline: PipelineSettings
    inputs: InputSettings
    limits: MediaLimits
    settings: JobRunSettings
    refreshing: RefreshSettings

    def run(self) -> int:
        """Runs the job, or goes on with it.

        Returns:
            0; 1 if an input has no result; 130 if it was interrupted.

        Raises:
            SensoriumError: it could not begin, or was ended.
        """
        given = {name: value for name, value in asdict(self.pipeline).items() if value != _DEFAULTS[name]}
        model = given.pop("model", None)
        if model is None and self.card.default:
            say(f"model: {self.card.default} (the task's default; --model names another)")
        job = Job(
            self.card.name,
            model or self.card.default,
            inputs=list(self.words),
            out=self.job.out,
            options=self.options,
            columns=self.job.columns(),
            carry=self.job.carry,
            named=self.named,
            exclude=self.inputs.exclude,
            shard_size=self.job.shard_size,
            index=self.job.index,
            limits=None if self.limits == MediaLimits() else self.limits,
            **given,
        )
        return _ended(
            job, partial(job.run, **_of_run(self.settings), **asdict(self.refreshing)), as_json=self.settings.json
        )


def retry_job(folder: str, codes: Sequence[str], run: JobRunSettings) -> int:
    """Does again what has failed; returns and raises what `JobRun.run` does."""
    job = Job.open(folder)
    return _ended(job, partial(job.retry, codes, **_of_run(run)), as_json=run.json)


def show_status(folder: str, settings: JobReportSettings) -> int:
    """Says how a job stands.

    Returns:
        0; 1 if an input has no result.
    """
    return _told(folder, Job.open(folder).status(), as_json=settings.json)


def write_report(folder: str) -> int:
    """Writes the report of a job, and says where it lies.

    Returns:
        0.
    """
    print(printable(str(Job.open(folder).write_report())))
    return 0


def show_failures(folder: str, settings: JobReportSettings) -> int:
    """Prints the inputs without a result, a line each.

    Returns:
        0; 1 if there is one.
    """
    names = ["input_id", "source", "status", "error_code", "error_message"]
    found = 0
    for batch in Job.open(folder).failures().to_batches(columns=names):
        for row in batch.to_pylist():
            found += 1
            if settings.json:
                print(json.dumps(row, ensure_ascii=False))
            else:
                print("\t".join(printable(str(row[name])) for name in ("source", "error_code", "error_message")))
    return 1 if found else 0


_DEFAULTS = asdict(PipelineSettings())


def _of_run(run: JobRunSettings) -> dict[str, Any]:
    settings = {field.name: getattr(run, field.name) for field in dataclasses.fields(RunSettings)}
    return {**settings, "progress": wants_progress(run.progress)}


def _ended(job: Job, run: Callable[[], JobReport], *, as_json: bool) -> int:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            report = run()
    except KeyboardInterrupt as end:
        say(f"interrupted; what was done is kept in {job.folder}, and the same command goes on")
        return exit_code(end)
    for warning in caught:
        say(str(warning.message))
    if report.refreshed is not None:
        say(printable(f"listed the inputs again: {report.refreshed}"))
    if report.ran:
        say(
            f"ran {report.ran} inputs in {report.seconds:.1f} s ({report.ran / max(report.seconds, 1e-9):.1f} a second)"
        )
    return _told(str(job.folder), report, as_json=as_json)


def _told(folder: str, report: JobReport, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"folder": printable(folder), **report.to_dict()}, ensure_ascii=False, indent=2))
    else:
        print(f"{folder}: {report}", file=sys.stdout)
    return 1 if report.failed or report.quarantined or not report.complete else 0
