"""`sensorium index build` and `sensorium index add`."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from sensorium.cli.indexes.opening import open_index
from sensorium.cli.indexes.settings import AddSettings, BuildSettings, EncoderSettings, ReportSettings
from sensorium.cli.indexes.sources import Sources
from sensorium.cli.process import exit_code
from sensorium.cli.settings import IndexSettings, PipelineSettings
from sensorium.cli.telling import printable, say, wants_progress
from sensorium.errors import OptionError
from sensorium.retrieval import Encoder, Index
from sensorium.retrieval.storage import NAME, check_target

_KEPT = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.(npy|part)")


@dataclass
class Build:
    """One build.

    Attributes:
        sources: what is indexed.
        settings: what is built, and where.
        encoder: how the encoder is loaded.
        report: what is said.
    """

    sources: Sources
    settings: BuildSettings
    encoder: EncoderSettings
    report: ReportSettings

    def run(self) -> int:
        """Runs the whole command.

        Returns:
            0; 1 if an input was left out; 130 if it was interrupted.

        Raises:
            SensoriumError: it could not begin, or there is nothing to index.
        """
        self._check()
        return going_on(part_of(self.settings.out) if self.settings.resume else None, self._build)

    def _check(self) -> None:
        """Refuses a folder that the index could not be written to in the end."""
        out = Path(self.settings.out)
        if (out / NAME).exists() and not self.settings.overwrite:
            raise OptionError(
                f"{out} holds an index; --overwrite replaces it, and `sensorium index add` adds passages to it"
            )
        check_target(out)

    def _build(self, part: Path | None) -> int:
        settings = self.settings
        progress = wants_progress(self.report.progress)
        encoder = Encoder.from_pretrained(settings.encoder, **asdict(self.encoder), limits=self.sources.media)
        if settings.lexical and encoder.modality != "text":
            raise OptionError(f"--lexical is for texts; {settings.encoder} is of {encoder.modality}")
        with contextlib.closing(encoder):
            items = self.sources.read(encoder, progress=progress, kept=settings.resume)
            index = Index.build(
                items,
                encoder,
                kind=settings.kind,
                lexical=settings.lexical,
                deletes=settings.deletes,
                on_error=self.sources.fail,
                resume=part,
                device=self.encoder.device,
                progress=progress,
            )
            if encoder.modality == "text":
                index.splitting = self.sources.splitting.to_dict()
            index.save(settings.out)
        return _sum_up("wrote", settings.out, index, count=len(index), sources=self.sources, report=self.report)


@dataclass
class Add:
    """What is added to an index.

    Attributes:
        sources: what is added.
        settings: how.
        opening: to which index.
        pipeline: how its encoder is loaded.
        report: what is said.
    """

    sources: Sources
    settings: AddSettings
    opening: IndexSettings
    pipeline: PipelineSettings
    report: ReportSettings

    def run(self) -> int:
        """Runs the whole command.

        Returns:
            0; 1 if an input was left out; 130 if it was interrupted.

        Raises:
            SensoriumError: it could not begin, there is nothing to add, or the index was changed by another meanwhile;
                it stays as it is.
        """
        assert self.opening.index is not None
        return going_on(part_of(self.opening.index) if self.settings.resume else None, self._add)

    def _add(self, part: Path | None) -> int:
        progress, folder = wants_progress(self.report.progress), self.opening.index
        assert folder is not None
        index = open_index(self.opening, self.pipeline)
        self.sources.cut_as(index)
        with contextlib.closing(index.encoder) as encoder:
            items = self.sources.read(encoder, progress=progress, kept=part is not None)
            added = index.add(items, on_error=self.sources.fail, resume=part, progress=progress)
            index.save(folder)
        return _sum_up("added to", folder, index, count=len(added), sources=self.sources, report=self.report)


def part_of(folder: str) -> Path:
    """Where an index that is written to a folder keeps what is encoded until it is."""
    return Path(f"{Path(folder)}.part")


def going_on(part: Path | None, work: Callable[[Path | None], int]) -> int:
    """Does what keeps in a folder what it has encoded, which goes when all is done; gives the exit code."""
    try:
        code = work(part)
    except KeyboardInterrupt as end:
        kept = part is not None and any(part.glob("*.npy"))
        say(f"interrupted{f'; {part} keeps what is encoded: the same command goes on there' if kept else ''}")
        return exit_code(end)
    if part is not None:
        _remove(part)
    return code


def _sum_up(did: str, folder: str, index: Index, *, count: int, sources: Sources, report: ReportSettings) -> int:
    """Says, or prints, what was done; gives the exit code."""
    seconds = time.perf_counter() - sources.began
    say(f"{did} {folder}: {count} passages of {sources.done - len(sources.failures)} inputs in {seconds:.1f} s")
    if report.json:
        facts = {
            "index": printable(folder),
            "added": count,
            "passages": len(index),
            "inputs": sources.done,
            "failed": len(sources.failures),
            "failures": sources.failed,
            "kind": index.kind,
            "dimension": index.dimension,
            "similarity": index.similarity,
            "encoder": index.encoder.name,
            "seconds": round(seconds, 3),
        }
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    return sources.failures.sum_up(sources.done)


def _remove(part: Path) -> None:
    """Removes what was kept of a build, and nothing else."""
    for path in part.iterdir():
        if _KEPT.fullmatch(path.name):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody put something else there
        part.rmdir()
