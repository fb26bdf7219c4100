"""COCO files: what was found on the pictures of a run, or of a job."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.sinks import Sink
from sensorium.errors import InputError, OptionError

if TYPE_CHECKING:
    from sensorium.results.result import Result


class CocoOutput(Sink):
    """A COCO file, written as results come; it gets its name at the end. Failed inputs are left out."""

    def __init__(self, path: str) -> None:
        """Takes the place where to write.

        Raises:
            OptionError: the file cannot be written.
        """
        from sensorium.cli.sinks import WholeFile
        from sensorium.results import CocoFile

        WholeFile(path)  # told before any work
        self._file = CocoFile(path)
        self._open = False

    def begin(self) -> None:
        """Opens the file under its passing name."""
        self._file.__enter__()
        self._open = True

    def add(self, source: str, outcome: Result | InputError) -> None:
        """Writes a picture and what was found on it.

        Raises:
            OptionError: results of this kind do not go into such a file.
        """
        from sensorium.results.object_rows import ObjectRows

        if isinstance(outcome, InputError):
            return
        if not isinstance(outcome, ObjectRows):
            raise self._refused(_no_objects("--output x.coco.json", type(outcome).__name__))
        try:
            self._file.add(outcome, source)
        except ValueError as error:
            raise self._refused(OptionError(f"--output x.coco.json cannot take {source!r}: {error}")) from error

    def finish(self) -> None:
        """Ends the file."""
        if self._open:
            self._open = False
            self._file.__exit__(None, None, None)

    def _refused(self, error: OptionError) -> OptionError:
        """Lets the file go, and gives the error."""
        self._open = False
        self._file.__exit__(type(error), error, None)
        return error


def write_coco_rows(path: Path, schema: Any, batches: Iterable[Any]) -> None:
    """Writes rows with typed columns, such as a job's, as a COCO file; those that failed are left out.

    Raises:
        OptionError: the rows are of results without boxes and masks.
    """
    from sensorium.results import CocoFile, Detections, Masks, Segments

    kinds = [kind for kind in (Detections, Segments, Masks) if kind.__name__.lower() in schema.names]
    if not kinds:
        raise _no_objects("a file x.coco.json", "these")
    with CocoFile(path) as file:
        for batch in batches:
            for row in batch.to_pylist():
                if row["status"] == "ok":
                    result = kinds[0].from_row(row)  # a column is called as its class
                    file.add(result, result.source or str(row["input_id"]))


def _no_objects(what: str, kind: str) -> OptionError:
    return OptionError(f"{what} has the boxes or masks of objects, and {kind} results have none; write x.jsonl")
