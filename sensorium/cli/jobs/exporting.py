"""`sensorium job export`: the rows of a job in one file."""

from __future__ import annotations

from pathlib import Path

from sensorium.cli.coco_output import write_coco_rows
from sensorium.cli.row_files import ROW_FILES
from sensorium.cli.settings import kind_of_file
from sensorium.cli.sinks import WholeFile
from sensorium.cli.telling import say
from sensorium.errors import OptionError
from sensorium.jobs import Job


def export(folder: str, to: str, *, status: str | None, overwrite: bool) -> int:
    """Writes the rows, some at a time.

    Returns:
        0.

    Raises:
        OptionError: the file is of no kind that is written, or is there.
        JobError: there are no rows, or a part is damaged.
    """
    import pyarrow.compute

    path = Path(to)
    write = {**ROW_FILES, ".coco.json": write_coco_rows}
    if kind_of_file(to) not in write:
        raise OptionError(f"--to takes a file name ending in {', '.join(write)}, got {to!r}")
    if path.exists() and not overwrite:
        raise OptionError(f"{to} is there; --overwrite replaces it")
    rows = Job.open(folder).results()
    if status is not None:
        rows = rows.filter(pyarrow.compute.field("status") == status)
    WholeFile(to, option="to").write(lambda part: write[kind_of_file(to)](part, rows.schema, rows.to_batches()))
    report = Job.open(folder).status()
    missing = "" if report.complete else f"; {report.inputs - report.done} inputs are still to be done"
    say(f"wrote {to}: {rows.count_rows()} rows{missing}")
    return 0
