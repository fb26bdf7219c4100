"""An engine: a task with its threads and its device."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import numpy as np
import torch

from sensorium.errors import InputError
from sensorium.pipelines.batching import BatchSizer
from sensorium.pipelines.forwarding import Forwarder
from sensorium.pipelines.run import Outcomes, Run
from sensorium.pipelines.runtime import PipelineRuntime
from sensorium.pipelines.sessions import Sessions
from sensorium.pipelines.settings import Settings
from sensorium.pipelines.sources import Memory, ReadAhead, Source
from sensorium.pipelines.stages import Stages
from sensorium.pipelines.statistics import Statistics
from sensorium.pipelines.workers import SplitPool, automatic_workers
from sensorium.tasks.base import Task


class Engine:
    """Runs a task over inputs; shared by all calls of a pipeline, from any thread.

    Args:
        task: what to run, its model in its place.
        settings: how; those that say how a model is loaded and placed have been heeded by then.
    """

    def __init__(self, task: Task, settings: Settings) -> None:
        self.task = task
        self.statistics = Statistics()
        self.runtime = PipelineRuntime(task, settings.compile, self.statistics)
        task.runtime = self.runtime
        grows = settings.compile is not True and not settings.steady
        self.sizer = BatchSizer(settings.batch_size, self.runtime.device, grows=grows)
        self.forwarder = Forwarder(task, self.runtime, self.sizer, self.statistics)
        self.sessions = Sessions(task, self.runtime)
        self.workers = automatic_workers() if settings.num_workers == "auto" else settings.num_workers
        self.upstream = None if task.upstream is None else Engine(task.upstream, settings)
        self._pool = SplitPool(self.workers)
        self._steady = settings.steady

    def run(
        self, inputs: Iterable[Any], options: Any, *, total: int | None = None
    ) -> Generator[tuple[int, Any], None, None]:
        """Yields `(index, result or InputError)` for every input, in order, lazily.

        Inputs that lie in memory are taken on the caller's thread. Any other iterable is read on a thread of its own,
        and is not waited for while there is something to do.

        Args:
            inputs: raw inputs; taken one by one, a few batches ahead.
            options: the task's options.
            total: how many inputs there are, where that is known.
        """
        return self._start(inputs, options, total).outcomes()

    def prepared(self, raw: Any, options: Any) -> Any:
        """What the task itself takes of one raw input of a call: that input, or the result of the task upstream.

        Raises:
            InputError: the task upstream cannot process it.
        """
        if self.upstream is None:
            return raw
        ((_, outcome),) = self.upstream.run([raw], self.task.upstream_options(options), total=1)
        if isinstance(outcome, InputError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Ends the threads; a later run starts new ones."""
        self._pool.close()
        if self.upstream is not None:
            self.upstream.close()

    def stats(self) -> dict[str, Any]:
        """What has been counted; `upstream` holds the same of the task upstream, where there is one."""
        counted = {**self.statistics.snapshot(), "batch_size": self.sizer.size, "sessions": self.sessions.counts()}
        return counted if self.upstream is None else {**counted, "upstream": self.upstream.stats()}

    def reset_stats(self) -> None:
        """Starts counting anew."""
        self.statistics.reset()
        self.sessions.reset()
        if self.upstream is not None:
            self.upstream.reset_stats()

    def _start(self, inputs: Iterable[Any], options: Any, total: int | None) -> Run:
        source: Source
        if self.upstream is not None:
            # what has failed upstream keeps its place
            upstream = self.upstream._start(inputs, self.task.upstream_options(options), total)
            source = Outcomes(upstream, self.statistics)
        elif self._steady or total == 1 or isinstance(inputs, (list, tuple, np.ndarray, torch.Tensor)):
            source = Memory(inputs, self.statistics)
        else:
            source = ReadAhead(inputs, self.statistics)
        return Run(Stages(self.forwarder, self._pool, total), source, options, inline=total == 1)
