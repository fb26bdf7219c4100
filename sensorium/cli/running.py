"""One run of `sensorium run`: from inputs and settings to written results and an exit code."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sensorium.cli.coco_output import CocoOutput
from sensorium.cli.finding import find_encoder, find_model
from sensorium.cli.inputs import count_inputs, read_inputs
from sensorium.cli.process import exit_code
from sensorium.cli.settings import IndexSettings, InputSettings, OutputSettings, PipelineSettings, kind_of_file
from sensorium.cli.sinks import Archive, JsonLines, Lines, Page, Sink, Tables
from sensorium.cli.telling import Failures, say, wants_progress
from sensorium.cli.typed_file import TypedFile
from sensorium.errors import InputError
from sensorium.processors.limits import MediaLimits
from sensorium.processors.skipped import Skipped
from sensorium.tasks.catalogue import TaskCard

if TYPE_CHECKING:
    from sensorium.checkpoints import Checkpoint
    from sensorium.pipelines.pipeline import Pipeline

_FILES: Mapping[str, Callable[[str], Sink]] = {
    ".jsonl": JsonLines,
    ".csv": TypedFile,
    ".parquet": TypedFile,
    ".npz": Archive,
    ".coco.json": CocoOutput,
}

LONG, LONG_S = 10_000, 60.0
"""Inputs, and seconds, after which a run is long."""


@dataclass
class TaskRun:
    """A task's run over the inputs of one command.

    Attributes:
        card: the task.
        words: the arguments that stand for inputs.
        named: the task's further inputs, the same for each of them.
        options: the task's options that were given.
        settings: how its pipeline is built.
        output: where results go.
        limits: what an input may cost.
        index: what the task searches, if it does.
        inputs: which files of folders are inputs, and whether the same one is computed again.
        as_job: the command line of the job that does the same.
    """

    card: TaskCard
    words: list[str]
    named: Mapping[str, str]
    options: Mapping[str, Any]
    settings: PipelineSettings
    output: OutputSettings
    limits: MediaLimits
    index: IndexSettings | None = None
    inputs: InputSettings = field(default_factory=InputSettings)
    as_job: Callable[[], str] | None = None
    _skipped: Skipped = field(default_factory=Skipped, init=False)
    _sources: deque[str] = field(default_factory=deque, init=False)
    _failures: Failures = field(init=False)
    _done: int = field(default=0, init=False)
    _told: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._failures = Failures("they are only counted here, and have their rows in --json and --output")

    def run(self) -> int:
        """Runs the whole command.

        Returns:
            0; 1 if an input failed; 130 if it was interrupted, 143 after SIGTERM.

        Raises:
            SensoriumError: the run could not begin, or an output cannot take its results.
        """
        progress = wants_progress(self.output.progress)
        total = self._count()
        rows = self._row_sink()
        try:
            with ExitStack() as opened:
                pipe = self._pipeline(opened)
                sinks = [rows, *([Page(self.output.html, self._report(pipe))] if self.output.html else [])]
                return self._run(pipe, sinks, total, progress)
        finally:
            rows.close()

    def _count(self) -> int | None:
        """How many inputs there are, where that is known."""
        return count_inputs(self.words, self.card.inputs[0], exclude=self.inputs.exclude)

    def _row_sink(self) -> Sink:
        if self.output.output:
            return _FILES[kind_of_file(self.output.output)](self.output.output)
        if self.output.json:
            return JsonLines(None)
        return Tables() if sys.stdout.isatty() else Lines()

    def _pipeline(self, opened: ExitStack) -> Pipeline:
        """The pipeline, and what it needs, which `opened` closes at the end."""
        model = self._found()
        from sensorium.pipelines.factory import pipeline
        from sensorium.tasks.base import get_task

        parse = get_task(self.card.name).options.parse
        parse(self.options)  # a wrong value costs no download
        if self.settings.model is None and self.card.default:
            say(f"model: {self.card.default} (the task's default; --model names another)")
        settings: dict[str, Any] = {**asdict(self.settings), "model": model, "limits": self.limits}
        if settings["compile"] is None:
            settings["compile"] = "auto"
        if self.card.searches:
            settings = self._searching(settings, opened)
        pipe = opened.enter_context(pipeline(self.card.name, **settings))
        pipe.task.check(parse(self.options))  # before an output is emptied
        return pipe

    def _found(self) -> Checkpoint | None:
        """The model that was named; what else is named is looked for, too, before torch is imported."""
        if self.index is not None:
            find_encoder(self.index, self.settings)
        find_model(self.options.get("reranker"), self.settings)
        return find_model(self.settings.model, self.settings, revision=self.settings.revision)

    def _searching(self, settings: dict[str, Any], opened: ExitStack) -> dict[str, Any]:
        """Opens the index and the reranker; gives the arguments that the pipeline takes besides."""
        from sensorium.cli.indexes.opening import open_index, open_reranker

        if self.index is None:
            return settings
        index = open_index(self.index, self.settings, self.limits)
        self.options = open_reranker(self.options, self.settings, opened)
        if self.card.searches == "always":  # the index has its encoder, which was loaded with the other settings
            settings = {name: settings[name] for name in ("compile", "batch_size", "num_workers", "decode")}
        return {**settings, "index": index}

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
            for _ in self._consume(pipe, sinks, total, progress):
                if progress and (max(total or 0, self._done) >= LONG or time.perf_counter() - began > LONG_S):
                    self._tell_of_jobs()
        except KeyboardInterrupt as end:
            of = "" if total is None else f" of {total}"
            say(f"interrupted after {self._done}{of} inputs; what was done is kept")
            return exit_code(end)
        finally:
            for sink in sinks:
                sink.finish()
        return self._sum_up(time.perf_counter() - began)

    def _consume(self, pipe: Pipeline, sinks: Iterable[Sink], total: int | None, progress: bool) -> Iterator[None]:
        """Gives each outcome to the sinks."""
        more = {"dedupe": True} if self.inputs.dedupe else {}
        stream = pipe.stream(self._inputs(), on_error="return", progress=progress, total=total, **more, **self.options)
        for outcome in stream:
            source = self._sources.popleft()
            failed = isinstance(outcome, InputError)
            if failed:
                self._failures.tell(outcome, source)
            if not failed or self.output.on_error != "skip":
                for sink in sinks:
                    sink.add(source, outcome)
            self._done += 1
            yield
            if failed and self.output.on_error == "raise":
                stream.close()
                return

    def _tell_of_jobs(self) -> None:
        """Says once what goes on where it was stopped."""
        if self.as_job is not None and not self._told:
            say(f"this run is long; as a job, whatever stops it, the same command goes on: {self.as_job()}")
        self._told = True

    def _inputs(self) -> Iterator[Any]:
        """The raw inputs; what each was called is kept until its outcome comes."""
        sources = read_inputs(self.words, self.card.inputs[0], exclude=self.inputs.exclude, skipped=self._skipped)
        for source in sources:
            self._sources.append(source)
            yield {self.card.inputs[0]: source, **self.named} if self.named else source

    def _sum_up(self, seconds: float) -> int:
        if skipped := self._skipped.told():
            say(f"skipped {skipped}")
        for name in filter(None, (self.output.output, self.output.html)):
            say(f"wrote {name}: {self._done} inputs in {seconds:.1f} s")
        return self._failures.sum_up(self._done)
