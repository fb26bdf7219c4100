"""What the commands that write an index have in common; `sensorium index add`."""

from __future__ import annotations

import contextlib
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from sensorium.cli.indexes.opening import open_index
from sensorium.cli.indexes.settings import AddSettings, ReportSettings
from sensorium.cli.indexes.sources import Sources
from sensorium.cli.process import exit_code
from sensorium.cli.settings import IndexSettings, PipelineSettings
from sensorium.cli.telling import printable, say, wants_progress
from sensorium.jobs.passages import are_in, remove
from sensorium.retrieval import Index

_KEPT = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.(npy|part)")


@dataclass
class IndexChange(ABC):
    """A change of an index on disk.

    Attributes:
        sources: the files that it is about.
        settings: how what is new is added.
        opening: which index.
        pipeline: how its encoder is loaded.
        report: what is said.
    """

    sources: Sources
    settings: AddSettings
    opening: IndexSettings
    pipeline: PipelineSettings
    report: ReportSettings

    @property
    def folder(self) -> str:
        """The index's."""
        assert self.opening.index is not None
        return self.opening.index

    def run(self) -> int:
        """Runs the whole command.

        Returns:
            0; 1 if an input was left out; 130 if it was interrupted.

        Raises:
            SensoriumError: it could not begin, there is nothing to do, or the index was changed by another meanwhile;
                it stays as it is.
        """
        return going_on(part_of(self.folder) if self.settings.resume else None, self._run)

    @abstractmethod
    def change(self, index: Index, part: Path | None, *, progress: bool) -> tuple[str, Mapping[str, Any]]:
        """Changes the index in memory.

        Returns:
            What is said of it, and what is printed of it as JSON.
        """

    def _run(self, part: Path | None) -> int:
        index = open_index(self.opening, self.pipeline)
        self.sources.cut_as(index)
        with contextlib.closing(index.encoder):
            said, facts = self.change(index, part, progress=wants_progress(self.report.progress))
            index.save(self.folder)
        return sum_up(said, self.folder, index, facts, sources=self.sources, report=self.report)


@dataclass
class Add(IndexChange):
    """Files that are added to an index."""

    def change(self, index: Index, part: Path | None, *, progress: bool) -> tuple[str, Mapping[str, Any]]:
        """Encodes and adds them."""
        items = self.sources.read(index.encoder, progress=progress, kept=part is not None)
        added = index.add(items, on_error=self.sources.fail, resume=part, progress=progress)
        return f"added to {self.folder}: {told(len(added), self.sources)}", facts_of(index, len(added))


def part_of(folder: str) -> Path:
    """Where an index that is written to a folder keeps what is encoded until it is."""
    return Path(f"{Path(folder)}.part")


def going_on(part: Path | None, work: Callable[[Path | None], int]) -> int:
    """Does what keeps in a folder what it has encoded, which goes when all is done; gives the exit code."""
    try:
        code = work(part)
    except KeyboardInterrupt as end:
        kept = part is not None and (any(part.glob("*.npy")) or are_in(part))
        say(f"interrupted{f'; {part} keeps what is encoded: the same command goes on there' if kept else ''}")
        return exit_code(end)
    if part is not None:
        _remove(part)
    return code


def told(count: int, sources: Sources) -> str:
    """How many passages there are of how many inputs."""
    return f"{count} passages of {sources.done - len(sources.failures)} inputs"


def facts_of(index: Index, added: int) -> Mapping[str, Any]:
    """What an index is that passages were added to."""
    return {
        "added": added,
        "kind": index.kind,
        "dimension": index.dimension,
        "similarity": index.similarity,
        "encoder": index.encoder.name,
    }


def sum_up(
    said: str, folder: str, index: Index, facts: Mapping[str, Any], *, sources: Sources, report: ReportSettings
) -> int:
    """Says, or prints, what was done; gives the exit code."""
    seconds = time.perf_counter() - sources.began
    say(f"{said} in {seconds:.1f} s")
    if report.json:
        told = {
            "index": printable(folder),
            **facts,
            "passages": len(index),
            "inputs": sources.done,
            "failed": len(sources.failures),
            "failures": sources.failed,
            "seconds": round(seconds, 3),
        }
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    return sources.failures.sum_up(sources.done)


def _remove(part: Path) -> None:
    """Removes what was kept of a build, and nothing else."""
    if not part.is_dir():
        return
    remove(part)
    for path in part.iterdir():
        if _KEPT.fullmatch(path.name):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody put something else there
        part.rmdir()
