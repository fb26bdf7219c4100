"""One call: inputs from a source, batched among themselves, with results in the order of the inputs.

One thread, the caller's, drives a run: it takes inputs from the source, fills buckets with what has been split, runs a
batch when one is full, and yields results in order. Where the source lies in memory nothing depends on timing but the
batch size that "auto" finds, so that such a run is repeatable. A live source is never waited for while something can
be done: what there is runs as a smaller batch, and while it runs the next one gathers.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Generator, Hashable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from sensorium.errors import InputError
from sensorium.pipelines.duplicates import Originals
from sensorium.pipelines.items import Item
from sensorium.pipelines.sources import Begin, Source
from sensorium.pipelines.stages import Stages
from sensorium.pipelines.statistics import Statistics

GRACE_S = 0.001
"""Seconds for which a batch that is not full waits for inputs of a live source that come in quick succession."""


class Run:
    """The state of one call.

    Args:
        stages: where its inputs go through.
        source: of its inputs.
        changed: what the caller's thread waits on, reentrant.
        options: of the call.
        inline: splits on the caller's own thread; for a single input, beside which nothing runs.
        dedupe: whether inputs that are the same are computed once.

    Attributes:
        key: what tells the input of the latest outcome from others, where it is deduplicated.
    """

    def __init__(
        self,
        stages: Stages,
        source: Source,
        changed: threading.Condition,
        options: Any,
        *,
        inline: bool,
        dedupe: bool = False,
    ) -> None:
        self._stages, self._source, self._changed = stages, source, changed
        self._options, self._inline = options, inline
        self._originals = Originals() if dedupe else None
        self.key: Hashable | None = None
        self._splits: deque[Item] = deque()
        self._items: deque[Item] = deque()
        self._starts: float | None = None  # when the next batch does, though it is not full

    @property
    def live(self) -> bool:
        """Whether its source may keep it waiting."""
        return self._source.live

    @property
    def under_way(self) -> bool:
        """Whether batches are, of it or upstream, that are over by themselves."""
        return self._stages.batches.under_way or self._source.under_way

    @property
    def stirs(self) -> bool:
        """Whether there is something new that `step` would see."""
        has_room = self._stages.room(len(self._splits), len(self._items)) > 0  # else nothing is taken from the source
        return self._stages.batches.landed or (has_room and self._source.stirs)

    @property
    def exhausted(self) -> bool:
        """Whether nothing more will come of it."""
        return self._source.exhausted and not self._items

    @property
    def error(self) -> Exception | None:
        """What the caller's own iterator has raised."""
        return self._source.error

    def outcomes(self) -> Generator[tuple[int, Any], None, None]:
        """Yields `(index, result or InputError)` in order."""
        try:
            while True:
                moved = self.step()
                for outcome in self.ready():
                    moved = True
                    yield outcome
                if not moved and not self.wait():
                    break
            if self.error is not None:
                raise self.error
        finally:
            self.close()

    def step(self) -> bool:
        """Does the next thing that can be done without waiting for the source; False if there is none."""
        stages, buckets = self._stages, self._stages.buckets
        self._fill()
        batch = buckets.take_full(stages.size)
        if batch is None and self._splits and not stages.crowded:
            self._receive()
            return True
        if batch is None and len(buckets):
            if not stages.crowded and self._better_wait():
                return True
            batch = buckets.take_oldest(stages.size)
        if batch is not None:
            self._starts = None
            stages.launch(batch)
            return True
        return stages.land()

    def ready(self) -> Iterator[tuple[int, Any]]:
        """Yields the outcomes that are next in order."""
        while self._items and self._items[0].done:
            item = self._items.popleft()
            yield item.index, self._outcome(item)

    def wait(self) -> bool:
        """Waits for the source, and for what is over by itself; False if nothing more comes."""
        if not self.under_way:
            return self._source.wait()
        self._stages.wait_for(self._changed, lambda: self.stirs)
        return True

    def close(self) -> None:
        """Ends what is still under way."""
        self._source.close()
        self._stages.batches.close()
        for item in self._splits:
            if isinstance(item.split, Future):
                item.split.cancel()

    def _fill(self) -> None:
        """Takes inputs from the source until enough are being split."""
        while not self._source.exhausted:
            room = self._stages.room(len(self._splits), len(self._items))
            if len(self._splits) > 3 * room:  # enough is being split: rather take some inputs at a time
                return
            items = self._source.take(room, self._begin)
            self._items.extend(items)
            splits = [item for item in items if item.split is not None]
            self._splits.extend(splits)
            self._start_over(items)
            if len(splits) == len(items):  # else there is room again: what has failed upstream is not split
                return

    def _begin(self, index: int, raw: Any) -> Item:
        item = Item(index, self._options)
        if isinstance(raw, InputError):  # of whatever was to make this input: it keeps its place
            item.error = raw
        elif self._originals is None or not self._is_twin(item, raw, self._originals):
            self._stages.begin(item, raw, here=self._inline)
        return item

    def _is_twin(self, item: Item, raw: Any, originals: Originals) -> bool:
        """Whether an input is the same as an earlier one, for whose parts it then waits."""
        raw = self._stages.named(item, raw)
        key = self._source.key if isinstance(self._source, Outcomes) else self._stages.identity(raw)
        if key is None:
            return False
        item.original, known = originals.meet(key)
        item.twin = raw if known else None
        return known

    def _outcome(self, item: Item) -> Any:
        """The result or error of an input, which those that are the same may take over."""
        original, originals = item.original, self._originals
        self.key = None if original is None else original.key
        if originals is None or original is None:
            return self._stages.outcome(item)
        if item.twin is not None:
            assert original.parts is not None
            return self._stages.adopt(item, copy.deepcopy(original.parts))
        if item.error is None:  # before the task makes its result, which may be of the very same arrays
            originals.settle(original, [item.parts[position] for position in range(item.opened)])
        outcome = self._stages.outcome(item)
        if isinstance(outcome, InputError):
            originals.fail(original)
            self._start_over(self._items)
        return outcome

    def _start_over(self, items: Iterable[Item]) -> None:
        """Has inputs computed whose originals came to nothing: what failed once need not fail again."""
        for item in items:
            if item.twin is not None and item.original is not None and item.original.failed:
                raw, item.twin, item.original = item.twin, None, None
                self._stages.begin(item, raw, here=self._inline)
                self._splits.append(item)

    def _receive(self) -> None:
        """Takes the oldest split that is under way into the buckets."""
        split = self._splits[0].split
        waits = self.live and isinstance(split, Future) and not split.done()
        if waits and self._stages.land(finished=True):
            return
        item = self._splits.popleft()
        if self._stages.receive(item):
            self._splits.append(item)

    def _better_wait(self) -> bool:
        """Whether more has come for a batch that is not full, while the device was busy, or just now."""
        if not self.live:  # which batches there are does not depend on when the results of others come
            if self._source.exhausted or not self.under_way:
                return False
            return (self._stages.batches.under_way and self._stages.land()) or self.wait()
        now = time.monotonic()
        if self._starts is None:
            self._starts = now + GRACE_S
        if self._stages.land() or (self._stages.batches.busy and self.wait()):
            return True
        return not self._source.quiet(max(0.0, self._starts - now))


class Outcomes:
    """A source that gives what comes of another run: that of the task upstream.

    Attributes:
        key: what tells the input that was taken last from others, where it is deduplicated.
    """

    def __init__(self, run: Run, statistics: Statistics) -> None:
        self._run, self._statistics = run, statistics
        self.exhausted = False
        self.error: Exception | None = None
        self.live = run.live
        self.key: Hashable | None = None

    @property
    def under_way(self) -> bool:
        """Whether batches are upstream that are over by themselves."""
        return self._run.under_way

    @property
    def stirs(self) -> bool:
        """Whether there is something new upstream."""
        return not self.exhausted and self._run.stirs

    def take(self, room: int, begin: Begin) -> list[Item]:
        """Takes up to `room` outcomes; has the run upstream do what it can do without waiting."""
        items: list[Item] = []
        began = time.perf_counter()
        while len(items) < room:
            outcome = next(self._run.ready(), None)
            if outcome is not None:
                self.key = self._run.key
                items.append(begin(*outcome))
            elif not self._run.step():
                self.exhausted, self.error = self._run.exhausted, self._run.error
                break
        spent = time.perf_counter() - began
        self._statistics.add("source", seconds=spent, waited=spent)
        return items

    def quiet(self, seconds: float) -> bool:
        """True: whatever could be done upstream has been done."""
        return True

    def wait(self) -> bool:
        """Waits for the source of the run upstream."""
        return not self.exhausted and (self._run.wait() or True)

    def close(self) -> None:
        """Closes the run upstream."""
        self._run.close()
