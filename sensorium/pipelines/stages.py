"""What all ways through an engine have in common: inputs are split, wait in buckets, run in batches, and are merged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from sensorium.checkpoints.opening import panics_told
from sensorium.errors import InputError
from sensorium.pipelines.batching import Buckets
from sensorium.pipelines.duplicates import identity
from sensorium.pipelines.items import Entry, Item
from sensorium.pipelines.origins import moment_of, origin_of
from sensorium.pipelines.splitting import Chunk, advance
from sensorium.pipelines.statistics import Statistics
from sensorium.pipelines.tables import of_row
from sensorium.pipelines.workers import SplitPool
from sensorium.processors.media import describe
from sensorium.processors.shortage import is_shortage
from sensorium.results.result import Result, put_seconds, put_source
from sensorium.tasks.base import Task, Unit

AHEAD_BATCHES = 2
"""Batches of inputs that are split ahead of the one that runs."""

WINDOW_BATCHES = 8
"""Batches of inputs that may be open (split, waiting for their bucket, or for an earlier input) at once."""

AHEAD_BYTES = 512 * 2**20
"""Bytes of split units that may wait at once; beyond, a bucket runs before it is full."""

CHEAPEST = 1 / 16
"""The least a unit costs in reckoning how many inputs to take ahead."""


class Batches(Protocol):
    """The batches of inputs that are under way together: on one device `Flights`, on several `Spread`."""

    @property
    def size(self) -> int:
        """The cost that the next batch may have."""
        ...

    @property
    def most(self) -> int:
        """The cost of as many batches as may run at once."""
        ...

    @property
    def busy(self) -> bool:
        """Whether batches are over without `land` being called, and a further one would not begin at once."""
        ...

    @property
    def under_way(self) -> bool:
        """Whether a batch is, that will be over without `land` being called."""
        ...

    @property
    def landed(self) -> bool:
        """Whether one is over of which `land` has not told."""
        ...

    def launch(self, entries: list[Entry]) -> None:
        """Runs a batch; may return before it is over."""
        ...

    def land(self, *, finished: bool = False) -> bool:
        """Whether a batch is over that was not, or could be brought to its end; with `finished` without a wait."""
        ...

    def close(self) -> None:
        """Leaves what has not begun."""
        ...


class Stages:
    """The inputs that are under way together; whoever drives them says when a batch starts.

    Belongs to one thread; only `begin` may be called from others.

    Args:
        task: says what is done.
        pool: splits the inputs.
        batches: runs the batches.
        statistics: of the engine.
        weighs: whether units count by what they cost, and not by their number.
    """

    def __init__(self, task: Task, pool: SplitPool, batches: Batches, statistics: Statistics, *, weighs: bool) -> None:
        self._task, self._pool, self._statistics, self._weighs = task, pool, statistics, weighs
        self.batches = batches
        self._waiting_bytes = 0
        self._cheapest = 1.0
        self.buckets: Buckets[Entry] = Buckets()

    @property
    def size(self) -> int:
        """The cost that the next batch may have."""
        return self.batches.size

    @property
    def crowded(self) -> bool:
        """Whether so much is waiting that a batch starts before it is full, and nothing more is split."""
        return self._waiting_bytes > AHEAD_BYTES

    def room(self, splitting: int, opened: int) -> int:
        """How many more inputs may be taken.

        Args:
            splitting: how many are being split.
            opened: how many are open: these, and those that wait for their bucket, or for an earlier input.
        """
        if self._waiting_bytes > AHEAD_BYTES:
            return 0
        units = round(self.batches.most / self._cheapest)  # that the batches may have which run at once
        ahead = AHEAD_BATCHES * units + self._pool.workers
        return max(0, min(ahead - splitting, WINDOW_BATCHES * units + ahead - opened))

    def begin(self, item: Item, raw: Any, *, here: bool = False) -> None:
        """Starts to split an input: on the pool, or on this very thread."""
        raw = self.named(item, raw)
        self._split(item, partial(_open, self._task, raw, item.options), raw, here=here)

    def named(self, item: Item, raw: Any) -> Any:
        """Notes where an input comes from; returns what the task takes of it, of a row its own column."""
        try:
            raw = of_row(self._task, raw)
        except InputError:  # is told where the input is split, and is that input's alone
            return raw
        item.source, item.time_s = origin_of(raw, self._task), moment_of(raw, self._task)
        return raw

    def identity(self, raw: Any) -> Hashable | None:
        """What an input has in common only with those that are the same; None where that is not told."""
        return identity(raw, self._task)

    def adopt(self, item: Item, parts: list[Any]) -> Any:
        """The result of an input, of what came of another that is the same."""
        item.parts, item.opened, item.exhausted = dict(enumerate(parts)), len(parts), True
        self._statistics.count("deduplicated")
        return self.outcome(item)

    def receive(self, item: Item) -> bool:
        """Takes what has been split of an input into the buckets, or waits for it.

        Returns:
            Whether more of it is being split now.
        """
        began = time.perf_counter()
        split, here = item.split, isinstance(item.split, Chunk)
        assert split is not None
        chunk = split.result() if isinstance(split, Future) else split
        waited = chunk.seconds if here else time.perf_counter() - began
        self._statistics.add("split", items=len(chunk.units), seconds=chunk.seconds, waited=waited)
        item.split = None
        item.seconds += chunk.seconds
        for unit, key, nbytes in chunk.units:
            cost = self._task.cost(unit) if self._weighs else 1.0
            self._cheapest = max(CHEAPEST, min(self._cheapest, cost))
            due = chunk.ended + item.delay_s
            self.buckets.add((item.group, key), Entry(item, item.opened, unit, nbytes, cost), cost, due)
            self._waiting_bytes += nbytes
            item.opened += 1
        if chunk.error is not None:
            item.error = _as_input_error(chunk.error, item.index, chunk.raw)
        elif chunk.rest is None:
            item.exhausted = True
        elif item.wanted:
            self._split(item, partial(iter, chunk.rest), chunk.raw, here=here)
            return True
        return False

    def launch(self, batch: list[Entry]) -> None:
        """Runs a batch that was taken out of the buckets, without those of its units that nobody wants any more."""
        self._waiting_bytes -= sum(entry.nbytes for entry in batch)
        self.batches.launch([entry for entry in batch if entry.item.wanted])

    def land(self, *, finished: bool = False) -> bool:
        """Decodes the oldest batch that is under way on the device.

        Args:
            finished: only if the device is done with it.

        Returns:
            False if there was none.
        """
        return self.batches.land(finished=finished)

    def wait_for(self, changed: threading.Condition, stirs: Callable[[], bool]) -> None:
        """Waits, while batches are under way that are over by themselves, until there is something new."""
        began = time.perf_counter()
        with changed:
            changed.wait_for(stirs)
        self._statistics.add("forward", waited=time.perf_counter() - began)

    def clear(self) -> None:
        """Forgets the units that wait."""
        self.buckets = Buckets()
        self._waiting_bytes = 0

    def outcome(self, item: Item) -> Any:
        """The result of an input that is done, or its InputError."""
        self._statistics.count("inputs")
        outcome = item.error if item.error is not None else self._merge(item)
        if isinstance(outcome, InputError):
            outcome.seconds = item.seconds
            self._statistics.count("failures")
        return outcome

    def _split(self, item: Item, make: Callable[[], Iterator[Unit]], raw: Any, *, here: bool) -> None:
        if here:
            item.split = advance(make, raw, self._task, self._pool.decoder)
        else:
            item.split = self._pool.submit(advance, make, raw, self._task, self._pool.decoder)

    def _merge(self, item: Item) -> Any:
        began = time.perf_counter()
        try:
            with panics_told():
                result = self._task.merge([item.parts[i] for i in range(item.opened)], item.options, item.index)
            if isinstance(result, Result):
                put_source(result, item.source, item.time_s)
                put_seconds(result, item.seconds + time.perf_counter() - began)
            return result
        except Exception as error:  # noqa: BLE001 - a task's own fault on one input must not cost the others
            return _as_input_error(error, item.index, None)
        finally:
            spent = time.perf_counter() - began
            self._statistics.add("merge", items=1, seconds=spent, waited=spent)


def _open(task: Task, raw: Any, options: Any) -> Iterator[Unit]:
    return iter(task.split(of_row(task, raw), options))


def _as_input_error(error: Exception, index: int, raw: Any) -> InputError:
    if not isinstance(error, InputError):
        code = "out-of-memory" if is_shortage(error) else "failed"
        mapped = InputError(f"could not be processed: {type(error).__name__}: {error}", code=code)
        mapped.__cause__ = error
        error = mapped
    error.index = index
    if error.source is None and raw is not None:
        error.source = describe(raw)
    return error
