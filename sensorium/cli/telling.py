"""What is said on standard error: notes, warnings and errors, one line each."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from sensorium.cli.process import READER_LEFT, OutputError, exit_code, silence
from sensorium.cli.wording import in_options
from sensorium.errors import InputError, OptionError, SensoriumError, UnknownNameError

FAILURES_TOLD = 20
"""Failed inputs that are reported one by one on standard error; further ones are only counted."""


class Failures:
    """Reports failed inputs, counts them by code, and sums up.

    Args:
        rest: what is said of those that are no longer reported one by one.
    """

    def __init__(self, rest: str) -> None:
        self._rest = rest
        self._counts: Counter[str] = Counter()

    def tell(self, error: InputError, source: str = "") -> None:
        """Says what failed; `source` is named where the message does not."""
        self._counts[error.code] += 1
        if len(self) <= FAILURES_TOLD:
            message = in_options(error.message, {})
            say(f"failed: {message if source in message else f'{source}: {message}'}")
        elif len(self) == FAILURES_TOLD + 1:
            say(f"failed: further inputs; {self._rest}")

    def sum_up(self, done: int) -> int:
        """Says how many of the inputs failed, and gives the exit code: 1 if any did."""
        if not self._counts:
            return 0
        codes = ", ".join(f"{code} {count}" for code, count in self._counts.most_common())
        say(f"{len(self)} of {done} inputs failed ({codes})")
        return 1

    def __len__(self) -> int:
        return self._counts.total()


def wants_progress(choice: bool | None) -> bool:
    """Whether to show progress: as asked, or if standard error is a terminal. If not, no library shows any."""
    wanted = sys.stderr.isatty() if choice is None else choice
    if not wanted:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # those of downloads and of loading weights
    return wanted


def say(text: str) -> None:
    """Writes a line to standard error, above a progress bar if there is one."""
    line = printable(text)
    try:
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)
        sys.stderr.flush()
    except OSError:  # nobody can be told; the work goes on
        silence(sys.stderr)


def printable(text: str) -> str:
    """The text with escapes for control characters, ends of line and whatever else a terminal could act on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@contextlib.contextmanager
def told(*, debug: bool, flags: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turns errors into a line on standard error and an exit code: 2 for a wrong option, 1 for other errors.

    Args:
        debug: lets the error pass, with its traceback.
        flags: the options of the command by the names of the arguments that they set, which messages may name.
    """
    show = warnings.showwarning
    if not debug:
        warnings.showwarning = _show_warning
    try:
        yield
    except KeyboardInterrupt as end:
        raise typer.Exit(exit_code(end)) from None
    except (OutputError, BrokenPipeError) as error:
        raise typer.Exit(tell_unwritten(error)) from None
    except (SensoriumError, OSError) as error:
        if debug:
            raise
        say(f"error: {in_options(str(error), flags or {})}")
        raise typer.Exit(2 if isinstance(error, (OptionError, UnknownNameError)) else 1) from None
    finally:
        warnings.showwarning = show


def flushed(code: Any) -> Any:
    """The exit code of a command that is done but for what standard output has not taken yet."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return tell_unwritten(error)
    return code


def tell_unwritten(error: OSError) -> int:
    """Says that standard output cannot be written, unless its reader has left; gives the exit code."""
    silence(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return READER_LEFT
    say(f"error: standard output cannot be written: {error.strerror or error}")
    return 1


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {message}")
