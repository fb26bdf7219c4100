"""An engine: a task with its threads and its devices, and the two ways through it.

Both ways have the same stages: split on threads, batch across inputs, forward, decode, merge. `run` takes the inputs of
one call and gives results in their order, `submit` takes one input of any caller and gives a future.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
import torch

from sensorium.errors import InputError, OptionError
from sensorium.pipelines.batching import BatchSizer
from sensorium.pipelines.forwarding import Flights, Forwarder
from sensorium.pipelines.intake import MOST_QUEUED, Intake, Request
from sensorium.pipelines.remaking import OneProcess
from sensorium.pipelines.replicas import Replica, replicas_of
from sensorium.pipelines.run import Outcomes, Run
from sensorium.pipelines.runtime import PipelineRuntime
from sensorium.pipelines.sessions import Sessions
from sensorium.pipelines.settings import Settings
from sensorium.pipelines.sources import InMemory, ReadAhead, Source
from sensorium.pipelines.spreading import Spread
from sensorium.pipelines.stages import Batches, Stages
from sensorium.pipelines.statistics import Statistics
from sensorium.pipelines.workers import SplitPool, automatic_workers
from sensorium.processors.image import ImageProcessor
from sensorium.processors.jpeg_on_device import JpegDecoder
from sensorium.processors.multimodal import MultimodalProcessor
from sensorium.tasks.base import Task


class Engine:
    """Runs a task over inputs; shared by all calls of a pipeline, from any thread.

    Args:
        task: what to run, its model in its place.
        settings: how; those for loading and placing a model have been applied by then.
        copies: the same task again, with its model on other devices.
        most_queued: how many inputs `submit` accepts at once.
    """

    def __init__(
        self, task: Task, settings: Settings, *, copies: Sequence[Task] = (), most_queued: int = MOST_QUEUED
    ) -> None:
        self.task = task
        self.statistics = Statistics()
        several = bool(copies)
        self.forwarders = [
            _forwarder(each, settings, Statistics() if several else self.statistics) for each in (task, *copies)
        ]
        first = self.forwarders[0]
        self.runtime, self.sizer = first.runtime, first.sizer
        self._replicas = replicas_of(self.forwarders) if several else []
        self._process = OneProcess()
        self.sessions = Sessions(self.forwarders, process=self._process)
        automatic = automatic_workers(isolated=task.limits.isolate)
        self.workers = automatic if settings.num_workers == "auto" else settings.num_workers
        self.upstream = None if task.upstream is None else Engine(task.upstream, settings, most_queued=most_queued)
        decoder = None if settings.decode == "cpu" else _decoder_on(self.forwarders, self.statistics)
        self._pool = SplitPool(self.workers, decoder)
        self._steady, self._most_queued = settings.steady, most_queued
        self._intake: Intake | None = None
        self._lock = threading.Lock()

    def run(
        self, inputs: Iterable[Any], options: Any, *, total: int | None = None, dedupe: bool = False
    ) -> Generator[tuple[int, Any], None, None]:
        """Yields `(index, result or InputError)` for every input, in order, lazily.

        Inputs that lie in memory are taken on the caller's thread. Any other iterable is read on a thread of its own,
        and is not waited for while there is something to do.

        Args:
            inputs: raw inputs; taken one by one, a few batches ahead.
            options: the task's options.
            total: how many inputs there are, where that is known.
            dedupe: whether inputs that are the same are computed once.
        """
        return self._start(inputs, options, total, dedupe=dedupe, replicas=self._replicas).outcomes()

    def submit(self, raw: Any, options: Any, *, max_delay_s: float) -> Future[Any]:
        """Takes one input; never waits.

        Its units share batches with those of other callers whose options are equal. A batch starts when it is full, or
        when the first of its units has waited `max_delay_s`.

        Args:
            raw: the input.
            options: the task's options.
            max_delay_s: seconds, from 0.

        Returns:
            A future of the result; its exception is an InputError where the input cannot be processed, and a
            ClosedError where the engine is closed meanwhile. One that is cancelled costs nothing from then on.

        Raises:
            QueueFullError: as many inputs as are taken at once are under way.
        """
        self._process.use()
        with self._lock:
            if self._intake is None:
                # each is a call of one input: "auto" compiles none of them
                changed = threading.Condition()
                stages = self._stages(1, changed, self._replicas)
                self._intake = Intake(stages, self.statistics, changed, most=self._most_queued)
            intake = self._intake
        request, future = intake.admit(options, max_delay_s)
        try:
            if self.upstream is None:
                intake.offer(request, raw)
                return future
            first = self.upstream.submit(raw, self.task.upstream_options(options), max_delay_s=max_delay_s)
        except BaseException:
            intake.withdraw(request)
            raise
        future.add_done_callback(lambda _: first.cancel())  # nothing that is done can be cancelled
        first.add_done_callback(partial(_go_on, intake, request))
        return future

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

    def warm(self, inputs: Sequence[Any], options: Any) -> None:
        """Runs inputs on each device by itself."""
        for replicas in [[each] for each in self._replicas] or [[]]:
            run = self._start(inputs, options, len(inputs), dedupe=False, replicas=replicas).outcomes()
            for _, outcome in run:
                if isinstance(outcome, InputError):
                    raise outcome

    def close(self) -> None:
        """Ends the threads; what was submitted ends with a ClosedError. A later call starts new ones."""
        if self._process.forked:  # its threads are those of the other process, and its locks may be held
            return
        with self._lock:
            intake, self._intake = self._intake, None
        if intake is not None:
            intake.close()
        self._pool.close()
        for replica in self._replicas:
            replica.close()
        if self.upstream is not None:
            self.upstream.close()

    def stats(self) -> dict[str, Any]:
        """What has been counted; `upstream` holds the same of the task upstream, where there is one."""
        queued = 0 if self._intake is None else self._intake.queued
        apart = [each.statistics for each in self.forwarders if each.statistics is not self.statistics]
        counted = {**self.statistics.with_work_of(apart).snapshot(), "queued": queued}
        counted["batch_size"] = max(each.sizer.size for each in self.forwarders)
        counted["sessions"] = self.sessions.counts()
        counted["compiled"] = [entry for each in self.forwarders for entry in each.runtime.compiler.report]
        counted["devices"] = [each.counts() for each in self.forwarders]
        return counted if self.upstream is None else {**counted, "upstream": self.upstream.stats()}

    def keep_steady(self) -> None:
        """Makes the same batches of the same inputs from here on, those of the task upstream, too."""
        self._steady = True
        for each in self.forwarders:
            each.sizer.settle()
        if self.upstream is not None:
            self.upstream.keep_steady()

    def reset_stats(self) -> None:
        """Starts counting afresh."""
        for each in (self.statistics, *(forwarder.statistics for forwarder in self.forwarders)):
            each.reset()
        self.sessions.reset()
        if self.upstream is not None:
            self.upstream.reset_stats()

    def _start(
        self,
        inputs: Iterable[Any],
        options: Any,
        total: int | None,
        *,
        dedupe: bool,
        replicas: Sequence[Replica],
        changed: threading.Condition | None = None,
    ) -> Run:
        """A run on some of the replicas, or on the only device; `changed` is what its caller's thread waits on."""
        self._process.use()
        changed = changed or threading.Condition()
        source: Source
        if (first := self.upstream) is not None:
            # what has failed upstream keeps its place
            asked = self.task.upstream_options(options)
            upstream = first._start(inputs, asked, total, dedupe=dedupe, replicas=first._replicas, changed=changed)
            source = Outcomes(upstream, self.statistics)
        elif self._steady or total == 1 or isinstance(inputs, (list, tuple, np.ndarray, torch.Tensor)):
            source = InMemory(_members(inputs, self.task), self.statistics)
        else:
            source = ReadAhead(_members(inputs, self.task), self.statistics, changed)
        stages = self._stages(total, changed, replicas)
        return Run(stages, source, changed, options, inline=total == 1, dedupe=dedupe)

    def _stages(self, total: int | None, changed: threading.Condition, replicas: Sequence[Replica]) -> Stages:
        batches: Batches = Flights(self.forwarders[0], total)
        if replicas:
            batches = Spread(replicas, total, changed, self.statistics)
        return Stages(self.task, self._pool, batches, self.statistics, weighs=self.sizer.weighs)


def _forwarder(task: Task, settings: Settings, statistics: Statistics) -> Forwarder:
    """Gives a task the runtime in which its model runs."""
    runtime = PipelineRuntime(task, settings.compile, statistics)
    task.runtime = runtime
    grows = not runtime.compiler.always and not settings.steady
    return Forwarder(task, runtime, BatchSizer(settings.batch_size, runtime.device, grows=grows), statistics)


def _members(inputs: Iterable[Any], task: Task) -> Iterator[Any]:
    """The inputs, and in place of an array of several, such as a data loader's batch, what the task makes of it."""
    for raw in inputs:
        several = task.expand(raw) if getattr(raw, "ndim", 0) >= 4 else None
        if several is None:
            yield raw
        else:
            yield from several


def _decoder_on(forwarders: Sequence[Forwarder], statistics: Statistics) -> JpegDecoder:
    """Decodes a task's JPEGs on the device of its model."""
    task, device = forwarders[0].task, forwarders[0].device
    if not isinstance(task.processor, (ImageProcessor, MultimodalProcessor)):
        raise OptionError(f'decode="cuda" is for tasks that are given pictures, and {task.name} is not; leave it out')
    if device.type != "cuda":
        raise OptionError(
            f'decode="cuda" needs a model on a CUDA device, and this one is on {device}; use decode="cpu"'
        )
    if len(forwarders) > 1:  # it gives pixels on its own device, and the batch may run on another
        raise OptionError('decode="cuda" is for a model on one device, and this one is on several; use decode="cpu"')
    return JpegDecoder(device, statistics.count)


def _go_on(intake: Intake, request: Request, first: Future[Any]) -> None:
    """Passes the upstream task's results on to the task that continues from them."""
    if first.cancelled():
        return  # by the request's own future
    error = first.exception()
    if error is not None:
        intake.fail(request, error)
    else:
        intake.offer(request, first.result())
