"""`sensorium index build`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sensorium.cli.indexes.changing import facts_of, going_on, part_of, sum_up, told
from sensorium.cli.indexes.settings import BuildSettings, EncoderSettings, ReportSettings
from sensorium.cli.indexes.sources import Sources
from sensorium.cli.telling import wants_progress
from sensorium.errors import OptionError
from sensorium.retrieval import Encoder, Index
from sensorium.retrieval.building import check_run
from sensorium.retrieval.storage import NAME, check_target


@dataclass
class Build:
    """One build.

    Attributes:
        sources: what is indexed.
        settings: what is built, and where.
        encoder: how the encoder is loaded.
        report: what is said.
        job: what was said of worker processes; nothing where there are none.
    """

    sources: Sources
    settings: BuildSettings
    encoder: EncoderSettings
    report: ReportSettings
    job: Mapping[str, Any]

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
        check_run(self.job)
        encoder = Encoder.from_pretrained(settings.encoder, **asdict(self.encoder), limits=self.sources.media)
        if settings.lexical and encoder.modality != "text":
            raise OptionError(f"--lexical is for texts; {settings.encoder} is of {encoder.modality}")
        with contextlib.closing(encoder):
            # a job has its passages on disk, so that there may be more of them than memory
            read = self.sources.passages if self.job else self.sources.read
            index = Index.build(
                read(encoder, progress=progress, kept=settings.resume),
                encoder,
                kind=settings.kind,
                lexical=settings.lexical,
                deletes=settings.deletes,
                on_error=self.sources.fail,
                resume=part,
                device=self.encoder.device,
                progress=progress,
                **self.job,
            )
            if encoder.modality == "text":
                index.splitting = self.sources.splitting.to_dict()
            index.save(settings.out)
        said = f"wrote {settings.out}: {told(len(index), self.sources)}"
        return sum_up(said, settings.out, index, facts_of(index, len(index)), sources=self.sources, report=self.report)
