"""The stages of a run: split on threads, batch across inputs, forward, decode, merge, in input order.

One thread, the caller's, drives a run: it takes inputs from the source, hands them to the pool, fills buckets with
what comes back, runs a batch when one is full, and yields results in order. Nothing depends on timing but the
batch size that "auto" finds, so a run is repeatable.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch

from sensorium.errors import InputError
from sensorium.pipelines.batching import BatchSizer, Buckets
from sensorium.pipelines.forwarding import Forwarder
from sensorium.pipelines.items import Entry, Item
from sensorium.pipelines.runtime import PipelineRuntime
from sensorium.pipelines.sessions import Sessions
from sensorium.pipelines.settings import Settings
from sensorium.pipelines.statistics import Statistics
from sensorium.pipelines.workers import automatic_workers, start_pool
from sensorium.processors.media import describe
from sensorium.tasks.base import Task, Unit

AHEAD_BATCHES = 2
"""Batches of inputs that are split ahead of the one that runs."""

WINDOW_BATCHES = 8
"""Batches of inputs that may be open (split, waiting for their bucket, or for an earlier input) at once."""

AHEAD_BYTES = 512 * 2**20
"""Bytes of split units that may wait at once; beyond, a bucket runs before it is full."""

CHEAPEST = 1 / 16
"""What a unit costs at the least where it is told how many inputs to take ahead."""

CHUNK = 8
"""Units that a worker takes from one input before others have their turn."""


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
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def run(
        self, inputs: Iterable[Any], options: Any, *, total: int | None = None
    ) -> Generator[tuple[int, Any], None, None]:
        """Yields `(index, result or InputError)` for every input, in order, lazily.

        Args:
            inputs: raw inputs; taken one by one, a few batches ahead.
            options: the task's options.
            total: how many inputs there are, where that is known.
        """
        if self.upstream is None:
            return _Run(self, enumerate(inputs), options, total).outcomes()
        return self._run_downstream(inputs, options, total)

    def _run_downstream(
        self, inputs: Iterable[Any], options: Any, total: int | None
    ) -> Generator[tuple[int, Any], None, None]:
        """The outcomes of the task upstream are the inputs of this one; what has failed there keeps its place."""
        assert self.upstream is not None
        first = self.upstream.run(inputs, self.task.upstream_options(options), total=total)
        try:
            yield from _Run(self, first, options, total).outcomes()
        finally:
            first.close()

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

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Runs a function on the pool of split threads."""
        with self._lock:
            if self._pool is None:
                self._pool = start_pool(self.workers)
            return self._pool.submit(function, *args)

    def close(self) -> None:
        """Ends the threads; a later run starts new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
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


class _Run:
    """The state of one call; its inputs come with their positions."""

    def __init__(self, engine: Engine, inputs: Iterator[tuple[int, Any]], options: Any, total: int | None) -> None:
        self._engine, self._task, self._options, self._total = engine, engine.task, options, total
        self._source = inputs
        self._source_error: BaseException | None = None
        self._exhausted = False
        self._inline = total == 1  # a single input is split by the caller's own thread: nothing runs beside it
        self._futures: deque[tuple[Item, Future[_Chunk] | _Chunk]] = deque()
        self._items: deque[Item] = deque()
        self._buckets: Buckets[Entry] = Buckets()
        self._waiting_bytes = 0
        self._cheapest = 1.0
        self._flights = engine.forwarder.flights(options, total)

    def outcomes(self) -> Generator[tuple[int, Any], None, None]:
        try:
            while self._step():
                yield from self._ready()
            yield from self._ready()
            if self._source_error is not None:
                raise self._source_error
        finally:
            for _, future in self._futures:
                if isinstance(future, Future):
                    future.cancel()

    def _step(self) -> bool:
        """Does the next thing that can be done; False once nothing is left."""
        size = self._engine.sizer.size
        self._fill(size)
        batch = self._buckets.take_full(size)
        crowded = self._waiting_bytes > AHEAD_BYTES
        if batch is None and not crowded and self._futures:
            self._receive()
            return True
        if batch is None and len(self._buckets):
            batch = self._buckets.take_oldest(size)
        if batch is not None:
            self._waiting_bytes -= sum(entry.nbytes for entry in batch)
            self._flights.launch([entry for entry in batch if entry.item.error is None])
            return True
        if self._futures:
            self._receive()
            return True
        return self._flights.land() or not self._exhausted

    def _fill(self, size: int) -> None:
        """Takes inputs from the source until enough are being split."""
        units = round(size / self._cheapest)
        ahead = AHEAD_BATCHES * units + self._engine.workers
        window = WINDOW_BATCHES * units + ahead
        while not self._exhausted and len(self._futures) < ahead and len(self._items) < window:
            if self._waiting_bytes > AHEAD_BYTES:
                return
            began = time.perf_counter()
            try:
                index, raw = next(self._source)
            except StopIteration:
                self._exhausted = True
                return
            except Exception as error:  # noqa: BLE001 - the caller's own iterator failed: what it gave before is still delivered
                self._source_error, self._exhausted = error, True
                return
            finally:
                spent = time.perf_counter() - began
                self._engine.statistics.add("source", seconds=spent, waited=spent)
            item = Item(index)
            self._items.append(item)
            if self._engine.upstream is not None and isinstance(raw, InputError):
                item.error = raw
            else:
                self._submit(item, partial(self._open, raw), raw)

    def _open(self, raw: Any) -> Iterator[Unit]:
        return iter(self._task.split(raw, self._options))

    def _submit(self, item: Item, make: Callable[[], Iterator[Unit]], raw: Any) -> None:
        if self._inline:
            self._futures.append((item, _advance(make, raw, self._task)))
        else:
            self._futures.append((item, self._engine.submit(_advance, make, raw, self._task)))

    def _receive(self) -> None:
        """Takes the oldest split that is under way into the buckets."""
        item, future = self._futures.popleft()
        began = time.perf_counter()
        chunk = future.result() if isinstance(future, Future) else future
        waited = chunk.seconds if self._inline else time.perf_counter() - began
        self._engine.statistics.add("split", items=len(chunk.units), seconds=chunk.seconds, waited=waited)
        for unit, key, nbytes in chunk.units:
            cost = self._task.cost(unit) if self._engine.sizer.weighs else 1.0
            self._cheapest = max(CHEAPEST, min(self._cheapest, cost))
            self._buckets.add(key, Entry(item, item.opened, unit, nbytes, cost), cost)
            self._waiting_bytes += nbytes
            item.opened += 1
        if chunk.error is not None:
            item.error = _as_input_error(chunk.error, item.index, chunk.raw)
        elif chunk.rest is None:
            item.exhausted = True
        else:
            self._submit(item, partial(iter, chunk.rest), chunk.raw)

    def _ready(self) -> Iterator[tuple[int, Any]]:
        """Yields the outcomes that are next in order."""
        while self._items and self._items[0].done:
            item = self._items.popleft()
            self._engine.statistics.count("inputs")
            outcome = item.error if item.error is not None else self._merge(item)
            if isinstance(outcome, InputError):
                self._engine.statistics.count("failures")
            yield item.index, outcome

    def _merge(self, item: Item) -> Any:
        began = time.perf_counter()
        try:
            return self._task.merge([item.parts[i] for i in range(item.opened)], self._options, item.index)
        except Exception as error:  # noqa: BLE001 - a task's own fault on one input must not cost the others
            return _as_input_error(error, item.index, None)
        finally:
            spent = time.perf_counter() - began
            self._engine.statistics.add("merge", items=1, seconds=spent, waited=spent)


@dataclass(slots=True)
class _Chunk:
    """What a worker brings back: some units, and the iterator of the rest."""

    raw: Any
    units: list[tuple[Unit, Hashable, int]]
    rest: Iterator[Unit] | None
    error: Exception | None
    seconds: float


def _advance(make: Callable[[], Iterator[Unit]], raw: Any, task: Task) -> _Chunk:
    """Splits off the next few units of an input; runs on a worker."""
    began = time.perf_counter()
    units: list[tuple[Unit, Hashable, int]] = []
    rest: Iterator[Unit] | None = None
    failure: Exception | None = None
    try:
        with torch.inference_mode():
            rest = make()
            for unit in islice(rest, CHUNK):
                units.append((unit, task.bucket(unit), sum(t.nbytes for t in unit.inputs.values())))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one input is that input's outcome
        failure = error
    if len(units) < CHUNK or failure is not None:
        rest = None
    return _Chunk(raw, units, rest, failure, time.perf_counter() - began)


def _as_input_error(error: Exception, index: int, raw: Any) -> InputError:
    if not isinstance(error, InputError):
        found = InputError(f"could not be processed: {type(error).__name__}: {error}", code="failed")
        found.__cause__ = error
        error = found
    error.index = index
    if error.source is None and raw is not None:
        error.source = describe(raw)
    return error
