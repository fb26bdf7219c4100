"""The options that `sensorium job` has besides those of a task and of its model."""

from __future__ import annotations

from dataclasses import dataclass

from sensorium.errors import OptionError
from sensorium.jobs.settings import SHARD_SIZE, RunSettings


@dataclass(frozen=True)
class JobSettings:
    """What a job is besides its task, its model and its inputs.

    Attributes:
        out: the job's folder, or its URL on an object store: a new one, or its own to go on.
        column: which column of a table has which input of the task, as image=path.
        carry: a column of a table that goes into the results as it is.
        index: the folder of an index, for tasks that search one.
        shard_size: inputs that are done and written together.
    """

    out: str
    column: tuple[str, ...] = ()
    carry: tuple[str, ...] = ()
    index: str | None = None
    shard_size: int = SHARD_SIZE

    def columns(self) -> dict[str, str]:
        """Names of columns by those of the task's inputs.

        Raises:
            OptionError: one is not of the form name=column.
        """
        pairs = [(text, *text.partition("=")) for text in self.column]
        for text, name, equals, column in pairs:
            if not (name and equals and column):
                raise OptionError(f"--column takes an input of the task and a column, as image=path, got {text!r}")
        return {name: column for _, name, _, column in pairs}


@dataclass(frozen=True)
class JobRunSettings(RunSettings):
    """How it is run this time, and what is said.

    Attributes:
        progress: show a progress bar on standard error; where that is a terminal, unless given.
        json: print how the job stands as one JSON document.
        debug: show the traceback of an error.
    """

    progress: bool | None = None
    json: bool = False
    debug: bool = False


@dataclass(frozen=True)
class RefreshSettings:
    """What is done about inputs that came, or changed, after the job was begun.

    Attributes:
        refresh: list the inputs again; new ones are added, and it is said which have changed or are gone.
        redo_changed: with --refresh, do those that have changed again.
    """

    refresh: bool = False
    redo_changed: bool = False


@dataclass(frozen=True)
class JobReportSettings:
    """What is said of a job.

    Attributes:
        json: print one JSON document, or one JSON object a line.
        debug: show the traceback of an error.
    """

    json: bool = False
    debug: bool = False
