"""What is said on standard error: notes, warnings and errors, a line each."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import typer

from sensorium.errors import OptionError, SensoriumError, UnknownNameError

INTERRUPTED = 130
"""The exit code after Ctrl-C; a shell gives it to a process that SIGINT ended."""

READER_LEFT = 141
"""The exit code after whoever read standard output has left, as `head` does; a shell's code for SIGPIPE."""


def say(text: str) -> None:
    """Writes a line to standard error, above a progress bar if there is one."""
    line = printable(text)
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)


def printable(text: str) -> str:
    """The text with escapes for control characters, ends of line and whatever else a terminal could act on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@contextlib.contextmanager
def told(*, debug: bool) -> Iterator[None]:
    """Turns errors into a line on standard error and an exit code: 2 for a wrong option, 1 for other errors.

    Args:
        debug: lets the error pass, with its traceback.
    """
    show = warnings.showwarning
    if not debug:
        warnings.showwarning = _show_warning
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would fail again
        raise typer.Exit(READER_LEFT) from None
    except (SensoriumError, OSError) as error:
        if debug:
            raise
        say(f"error: {error}")
        raise typer.Exit(2 if isinstance(error, (OptionError, UnknownNameError)) else 1) from None
    finally:
        warnings.showwarning = show


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {message}")
