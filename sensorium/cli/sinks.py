"""Where results go: lines or tables on standard output, JSON Lines, a NumPy archive, an HTML page."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sensorium.cli.process import naming
from sensorium.cli.telling import printable
from sensorium.errors import InputError, OptionError

if TYPE_CHECKING:
    from sensorium.report import Report
    from sensorium.results.result import Result


class Sink(ABC):
    """Takes outcomes in input order."""

    @abstractmethod
    def add(self, source: str, outcome: Result | InputError) -> None:
        """Takes the result of the input `source`, or the `InputError` that it failed with."""

    def begin(self) -> None:  # noqa: B027
        """Called before the first outcome, once everything that the run needs is ready."""

    def finish(self) -> None:  # noqa: B027
        """Called after the last outcome, also if an error or an interruption ended the run."""

    def close(self) -> None:  # noqa: B027
        """Releases files; called last, and also where the run never began."""


class WholeFile:
    """A file that is written at the end, whole or not at all.

    Raises:
        OptionError: it cannot be written, told before any work.
    """

    def __init__(self, path: str, *, option: str = "output") -> None:
        from sensorium.results.saving import check_place

        self._path = Path(path)
        try:
            check_place(path)
        except OSError as error:
            raise _unwritable(path, error, option) from error

    def write(self, write: Callable[[Path], None]) -> None:
        """Has the file written under its passing name, and gives it its own."""
        from sensorium.results.saving import written_whole

        with naming(self._path), written_whole(self._path) as part:
            write(part)


def _unwritable(path: str, error: OSError, option: str = "output") -> OptionError:
    return OptionError(f"--{option} takes a file that can be written, got {path!r}: {error.strerror}")


class JsonLines(Sink):
    """One JSON object per line.

    Every line is `{"index", "source", "result", "error"}`: the result in Transformers' schema and null, or null and the
    error's `{"code", "message"}`. Each is written by one call, so that what ends the process leaves whole lines only;
    SIGKILL may cut off the last one where it is long, which then has no end of line.
    """

    def __init__(self, path: str | None) -> None:
        """Opens the file, which keeps what it holds until the first line comes; None is standard output."""
        self._file: BinaryIO | None = None
        self._made: Path | None = None  # by us, and of no use until the run begins
        if path is not None:
            self._made = None if Path(path).exists() else Path(path)
            try:
                self._file = open(path, "ab", buffering=0)  # noqa: SIM115, PTH123 - closed by close()
            except OSError as error:
                raise _unwritable(path, error) from error

    def begin(self) -> None:
        """Empties the file."""
        self._made = None
        if self._file is not None:
            self._file.truncate(0)

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Writes the line."""
        line = encode_row(outcome.index, source, outcome)
        if self._file is None:
            with above_progress():
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            return
        before = self._file.tell()
        with naming(self._file.name):
            if self._file.write(line) != len(line):
                self._file.truncate(before)
                raise OSError(errno.ENOSPC, f"no room for the line of input {outcome.index}, where the file ends")

    def close(self) -> None:
        """Closes the file; one that was not there before is removed if the run never began."""
        if self._file is not None:
            self._file.close()
        if self._made is not None:
            self._made.unlink(missing_ok=True)


class Archive(Sink):
    """The arrays of results as one `.npz`, written at the end.

    It holds `index` `(N,)` int64, `sources` `(N,)` str, and what `Result.arrays` gives, stacked by name: of embeddings
    `vectors` `(N, …)` float32 and each feature map. Failed inputs are left out; `index` tells which.
    """

    def __init__(self, path: str) -> None:
        self._file = WholeFile(path)
        self._arrays: dict[str, list[Any]] = {}
        self._sources: list[str] = []
        self._indices: list[int] = []
        self._shapes: list[tuple[int, ...]] = []
        self._refused = False

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Keeps the arrays.

        Raises:
            OptionError: the result has no arrays to keep, or their shapes differ from the others'.
        """
        if isinstance(outcome, InputError):
            return
        arrays = outcome.arrays()
        if not arrays:
            self._refused = True
            raise OptionError(
                "--output x.npz is for results with arrays, such as embeddings; write this task's results to x.jsonl"
            )
        shapes = [tuple(array.shape) for array in arrays.values()]
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            raise OptionError(
                f"--output x.npz takes arrays of one shape, got {shapes} for {source!r} after {self._shapes}; "
                f"pool them (--pool mean), or write x.jsonl"
            )
        self._sources.append(source)
        self._indices.append(outcome.index)
        for name, array in arrays.items():
            self._arrays.setdefault(name, []).append(array)

    def finish(self) -> None:
        """Writes the archive, whole or not at all."""
        if self._refused:
            return
        import numpy as np

        kept = self._arrays or {"vectors": [np.empty(0, np.float32)]}  # nothing came: an embedding of nothing
        arrays = {name: np.stack(rows) for name, rows in kept.items()}
        arrays["index"] = np.array(self._indices, dtype=np.int64)
        arrays["sources"] = np.array([printable(source) for source in self._sources], dtype=np.str_)

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)

        self._file.write(write)


class Lines(Sink):
    """One line per input on standard output, its parts separated by tabs; failures go to standard error elsewhere."""

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Prints the line."""
        if isinstance(outcome, InputError):
            return
        print("\t".join(printable(part) for part in [source, *outcome.lines()]), flush=True)


class Tables(Sink):
    """A small table for each input, for a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Prints the table."""
        from rich.table import Table
        from rich.text import Text

        from sensorium.report import score_bars

        if isinstance(outcome, InputError):
            return
        bars = score_bars(outcome)
        table = Table.grid(padding=(0, 2))
        for bar in bars:
            length = round(bar.percent / 4)
            table.add_row("", Text(printable(bar.label)), f"{bar.score:.4f}", Text("█" * length, style="cyan"))
        with above_progress():
            self._console.print(Text(printable(source), style="bold"))
            if bars:
                self._console.print(table)
            for line in () if bars else outcome.lines():
                self._console.print(Text("  " + printable(line)))


class Page(Sink):
    """The HTML report, written at the end."""

    def __init__(self, path: str, report: Report) -> None:
        self._path, self._report = path, report

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Adds the card."""
        self._report.add(printable(source), outcome, image=source)

    def finish(self) -> None:
        """Writes the page."""
        with naming(self._path):
            self._report.save(self._path)


def encode_row(index: int | None, source: str, outcome: Result | InputError) -> bytes:
    """The line of JSON Lines for an outcome, UTF-8, its end of line included."""
    failed = isinstance(outcome, InputError)
    row: dict[str, Any] = {
        "index": index,
        "source": source,
        "result": None if failed else outcome.to_dict(),
        "error": outcome.to_dict()["error"] if failed else None,
    }
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a file name that is not UTF-8, whose bytes JSON keeps as escapes
        return json.dumps(row, allow_nan=False).encode() + b"\n"
    except ValueError:  # NaN and infinity are no JSON
        message = "the result holds NaN or infinity; try --dtype float32"
        return encode_row(index, source, InputError(message, code="not-finite", index=index))


@contextlib.contextmanager
def above_progress() -> Iterator[None]:
    """Keeps the progress bar below what is printed meanwhile, where both may go to one terminal."""
    if not sys.stdout.isatty():
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stdout):
        yield
