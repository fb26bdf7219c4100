"""One run of `sensorium run`: from inputs and settings to written results and an exit code."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sensorium.cli.catalogue import TaskCard
from sensorium.cli.inputs import count_inputs, read_inputs
from sensorium.cli.settings import OutputSettings, PipelineSettings
from sensorium.cli.sinks import Archive, JsonLines, Lines, Page, Sink, Tables
from sensorium.cli.telling import INTERRUPTED, say
from sensorium.errors import InputError
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    from sensorium.pipelines.pipeline import Pipeline

FAILURES_TOLD = 20
"""Failed inputs that are told one by one on standard error; further ones are only counted."""


@dataclass
class Run:
    """A task's run over the inputs of one command.

    Attributes:
        card: the task.
        words: the arguments that stand for inputs.
        named: the task's further inputs, the same for each of them.
        options: the task's options that were given.
        settings: how its pipeline is built.
        output: where results go.
        limits: what an input may cost.
    """

    card: TaskCard
    words: list[str]
    named: Mapping[str, str]
    options: Mapping[str, Any]
    settings: PipelineSettings
    output: OutputSettings
    limits: MediaLimits
    _sources: deque[str] = field(default_factory=deque, init=False)
    _failures: Counter[str] = field(default_factory=Counter, init=False)
    _done: int = field(default=0, init=False)

    def run(self) -> int:
        """Does it all.

        Returns:
            0; 1 if an input failed; 130 if it was interrupted.

        Raises:
            SensoriumError: the run could not begin, or an output cannot take its results.
        """
        progress = sys.stderr.isatty() if self.output.progress is None else self.output.progress
        if not progress:
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # those of downloads and of loading weights
        total = count_inputs(self.words, self.card.inputs[0])
        rows = self._row_sink()
        try:
            with self._pipeline() as pipe:
                sinks = [rows, *([Page(self.output.html, self._report(pipe))] if self.output.html else [])]
                return self._run(pipe, sinks, total, progress)
        finally:
            rows.close()

    def _row_sink(self) -> Sink:
        if self.output.output:
            name = self.output.output
            return Archive(name) if name.endswith(".npz") else JsonLines(name)
        if self.output.json:
            return JsonLines(None)
        return Tables() if sys.stdout.isatty() else Lines()

    def _pipeline(self) -> Pipeline:
        from sensorium.pipelines.factory import pipeline
        from sensorium.tasks.base import get_task

        get_task(self.card.name).options.parse(self.options)  # a wrong value costs no download
        if self.settings.model is None and self.card.default:
            say(f"model: {self.card.default} (the task's default; --model names another)")
        settings: dict[str, Any] = asdict(self.settings)
        if settings["compile"] is None:
            settings["compile"] = "auto"
        return pipeline(self.card.name, limits=self.limits, **settings)

    def _report(self, pipe: Pipeline) -> Any:
        from sensorium.report import Report

        dtype = str(pipe.placement.dtype).removeprefix("torch.")
        model = self.settings.model or self.card.default or ""
        details = {"model": model, "device": str(pipe.device), "dtype": dtype}
        return Report(self.card.name, details=details, limits=self.limits)

    def _run(self, pipe: Pipeline, sinks: list[Sink], total: int | None, progress: bool) -> int:
        began = time.perf_counter()
        for sink in sinks:
            sink.begin()
        try:
            self._consume(pipe, sinks, total, progress)
        except KeyboardInterrupt:
            of = "" if total is None else f" of {total}"
            say(f"interrupted after {self._done}{of} inputs; what was done is kept")
            return INTERRUPTED
        finally:
            for sink in sinks:
                sink.finish()
        return self._sum_up(time.perf_counter() - began)

    def _consume(self, pipe: Pipeline, sinks: Iterable[Sink], total: int | None, progress: bool) -> None:
        stream = pipe.stream(self._inputs(), on_error="return", progress=progress, total=total, **self.options)
        for outcome in stream:
            source = self._sources.popleft()
            failed = isinstance(outcome, InputError)
            if failed:
                self._tell_failure(source, outcome)
            if not failed or self.output.on_error != "skip":
                for sink in sinks:
                    sink.add(source, outcome)
            self._done += 1
            if failed and self.output.on_error == "raise":
                stream.close()
                return

    def _inputs(self) -> Iterator[Any]:
        """The raw inputs; what each was called is kept until its outcome comes."""
        for source in read_inputs(self.words, self.card.inputs[0]):
            self._sources.append(source)
            yield {self.card.inputs[0]: source, **self.named} if self.named else source

    def _tell_failure(self, source: str, error: InputError) -> None:
        self._failures[error.code] += 1
        told = self._failures.total()
        if told <= FAILURES_TOLD:
            say(f"failed: {error.message if source in error.message else f'{source}: {error.message}'}")
        elif told == FAILURES_TOLD + 1:
            say("failed: further inputs; they are only counted here, and have their rows in --json and --output")

    def _sum_up(self, seconds: float) -> int:
        for name in filter(None, (self.output.output, self.output.html)):
            say(f"wrote {name}: {self._done} inputs in {seconds:.1f} s")
        if not self._failures:
            return 0
        codes = ", ".join(f"{code} {count}" for code, count in self._failures.most_common())
        say(f"{self._failures.total()} of {self._done} inputs failed ({codes})")
        return 1
