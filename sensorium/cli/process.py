"""The process around a command: its standard streams, and the signals that end it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIGNALS = ("SIGTERM", "SIGHUP")
"""What ends a command as Ctrl-C does: asked to by another process, or because its terminal was closed."""

READER_LEFT = 141
"""The exit code after whoever read standard output has left, as `head` does; a shell's code for SIGPIPE."""


class OutputError(OSError):
    """Standard output could not be written."""


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C's ended the command.

    Attributes:
        number: which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """What a shell gives to a process that this signal ended: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + (interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT)


def prepare() -> None:
    """Makes standard streams usable that are closed, or cannot show a character, and has signals raise `Ended`."""
    _fill_in()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _StandardOutput.of(sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a label must not end a run on a terminal without its script
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # under nohup it is ignored, and stays so
            signal.signal(number, _end)


def silence(stream: Any) -> None:
    """Lets a stream that cannot be written swallow what comes, or the flush at the end of the process would fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Names the file in errors of reading or writing it that do not say which one it was."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def input_lines() -> Iterator[bytes]:
    """The lines of standard input, without their ends.

    Raises:
        OSError: it is closed, or gives nothing more.
    """
    with naming("standard input"):
        for line in sys.stdin.buffer:
            yield line.rstrip(b"\r\n")


class _StandardOutput(io.FileIO):
    """Standard output whose errors tell that it was that."""

    @classmethod
    def of(cls, stream: Any) -> io.TextIOWrapper:
        """The same file as a stream of text."""
        stream.flush()
        raw = cls(stream.fileno(), "w", closefd=False)
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, line_buffering=stream.line_buffering)

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error


def _fill_in() -> None:
    """Opens what a shell has closed (`>&-`), or the next file that is opened would take its place.

    Reading such an input fails, and so does writing such an output, as it does for other programs; errors go nowhere.
    """
    modes = {"stdin": os.O_WRONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}
    for number, (name, mode) in enumerate(modes.items()):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            stream = open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _end(number: int, _: Any) -> None:
    if number == getattr(signal, "SIGHUP", None):
        for stream in (sys.stdout, sys.stderr):
            if stream.isatty():
                silence(stream)  # the terminal has gone
    raise Ended(number)
