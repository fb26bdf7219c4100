"""Every error that Sensorium raises on purpose.

    SensoriumError
    ├── UnknownNameError(KeyError)        a task, option or name that does not exist; names the nearest right one
    ├── OptionError(ValueError)           a known option with an invalid value
    ├── InputError(ValueError)            one input that cannot be processed; neighbours are not affected
    │   └── LimitError                    an input refused by a limit (pixels, bytes, seconds, addresses)
    ├── CheckpointError(ValueError)       a checkpoint that cannot be used as it is
    │   ├── CheckpointNotFoundError(FileNotFoundError)   no such folder, repository or revision
    │   ├── MissingWeightsError           a checkpoint without the weights that the task needs
    │   ├── UnsafeCheckpointError         pickled weights or remote code, refused unless asked for
    │   └── TaskMismatchError             a checkpoint of another task; names the tasks that it fits
    ├── QueueFullError(RuntimeError)      more inputs at once than are taken; none of those before is affected
    ├── ClosedError(RuntimeError)         a pipeline closed before an input was done, or used before a fork
    ├── DeviceError(RuntimeError)         a device that has failed for good; what came before is right
    ├── IndexFileError(ValueError)        the folder of an index that is damaged, incomplete, or not an index
    ├── JobError(RuntimeError)            the folder of a job that is in use, damaged, or something else
    │   └── JobStoppedError               a job that ended before its end: too many failures, or no worker that runs
    └── DownloadError(OSError)            the Hub could not be reached, or refused

Each message says what was expected, what came, and what to do. A library's exception is kept as `__cause__`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class SensoriumError(Exception):
    """The base of every error that Sensorium raises on purpose."""


class UnknownNameError(SensoriumError, KeyError):
    """A name that does not exist, with the nearest one that does."""

    def __init__(self, kind: str, name: object, known: Iterable[str], advice: str = "") -> None:
        self.kind, self.name, self.known, self.advice = kind, name, sorted(known), advice
        near = difflib.get_close_matches(str(name), self.known, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        choices = f"Known: {', '.join(self.known)}." if self.known else f"No {kind} is known here."
        self.message = f"unknown {kind} {name!r}. {hint}{choices}{' ' + advice if advice else ''}"
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would show the repr
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.name, self.known, self.advice)


class OptionError(SensoriumError, ValueError):
    """A known option with an invalid value."""


class InputError(SensoriumError, ValueError):
    """One input that cannot be processed.

    Attributes:
        code: the kind of fault in kebab-case, stable between versions (`"missing-file"`, `"truncated"`, …).
        index: the position of the input among its call's inputs, or None where it is not yet known.
        source: a short description of the input (a path, a URL, or the type and shape of an object).
        seconds: what the input has cost until then, as of a result; None where that was not measured.
    """

    seconds: float | None = None

    def __init__(
        self, message: str, *, code: str = "bad-input", source: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.source, self.index = message, code, source, index

    def __str__(self) -> str:
        where = "" if self.index is None else f"input {self.index}: "
        return f"{where}{self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"code": self.code, "source": self.source, "index": self.index}
        return _rebuild_input_error, (type(self), self.message, state)

    def to_dict(self) -> dict[str, Any]:
        """The row that a batch job writes for a failed input: index, source, code and message."""
        error = {"code": self.code, "message": self.message}
        return {"index": self.index, "source": self.source, "error": error}


class LimitError(InputError):
    """An input refused by a limit before any costly work was done on it."""


class CheckpointError(SensoriumError, ValueError):
    """A checkpoint that cannot be used as it is."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No such local folder, repository or revision."""


class MissingWeightsError(CheckpointError):
    """A checkpoint that lacks weights which the model needs; random ones are never used silently."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint that has only pickled weights, or needs its own code, which the caller did not allow."""


class TaskMismatchError(CheckpointError):
    """A checkpoint of a task other than the one asked for."""

    def __init__(self, message: str, *, fits: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.fits = sorted(fits)


class QueueFullError(SensoriumError, RuntimeError):
    """As many inputs are under way as are accepted at once; this one was not accepted, and can be given again later."""


class ClosedError(SensoriumError, RuntimeError):
    """A pipeline was closed before the input was done; or it, an encoder or an index was used before the fork."""


class DeviceError(SensoriumError, RuntimeError):
    """The device has failed in a way from which this process cannot recover; what was yielded before is right."""


class IndexFileError(SensoriumError, ValueError):
    """The folder of an index that is damaged, incomplete, or not an index; nothing was opened."""


class JobError(SensoriumError, RuntimeError):
    """The folder of a job that another run uses, that is damaged, or that holds something else."""


class JobStoppedError(JobError):
    """A job that ended early: too many failures, no worker runs, its folder is out of reach; what was done is kept."""


class DownloadError(SensoriumError, OSError):
    """The Hub could not be reached, or refused the files."""


def _rebuild_input_error(cls: type[InputError], message: str, state: dict[str, Any]) -> InputError:
    return cls(message, **state)
