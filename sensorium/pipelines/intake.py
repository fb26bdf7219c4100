"""Inputs of many callers, each with a future of its own, whose units share batches."""

from __future__ import annotations

import atexit
import math
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from sensorium.errors import ClosedError, InputError, QueueFullError
from sensorium.pipelines.items import Alike, Item
from sensorium.pipelines.stages import Stages
from sensorium.pipelines.statistics import Statistics
from sensorium.pipelines.workers import SerialThread

MOST_QUEUED = 1024
"""Inputs that may be under way at once, from all callers together, unless an engine is told otherwise."""

EXIT_S = 10.0
"""Seconds for which the interpreter's end waits for a batch that is running."""


@dataclass(slots=True, eq=False)
class Request(Item):
    """One input of one caller, who holds its future.

    Attributes:
        dropped: whether nobody waits for it any more: it was answered, or cancelled.
    """

    dropped: bool = False

    @property
    def wanted(self) -> bool:
        """Whether its units are still worth a forward pass."""
        return self.error is None and not self.dropped


class Intake:
    """Takes inputs one by one, from any thread, and answers each through a future.

    One thread, the dispatcher's, runs the batches: one starts when it is full, or when the first of its units has
    waited as long as its caller allows. It works while anything is under way, and sleeps without costing anything
    otherwise; the interpreter may end at any time.

    Args:
        stages: where the inputs go through.
        statistics: of the engine.
        changed: what the dispatcher waits on; reentrant: what a future is told on its thread may lead back here.
        most: how many inputs may be under way at once.
    """

    def __init__(self, stages: Stages, statistics: Statistics, changed: threading.Condition, *, most: int) -> None:
        self._stages, self._statistics, self._changed, self._most = stages, statistics, changed, most
        self._pending: dict[Request, Future[Any]] = {}
        self._waiting: deque[tuple[Request, Any]] = deque()
        self._split: deque[Request] = deque()
        self._splitting = self._ahead = 0
        self._launched: set[Request] = set()
        self._dispatcher = SerialThread("sensorium-dispatch")
        self._running = self._closed = False
        _OPEN.add(self)

    @property
    def queued(self) -> int:
        """How many inputs are under way."""
        return len(self._pending)

    def admit(self, options: Any, delay_s: float) -> tuple[Request, Future[Any]]:
        """Makes room for an input, which `offer` then brings.

        Args:
            options: of its call.
            delay_s: how long a unit of it may wait for others.

        Returns:
            What stands for it here, and what its caller waits for.

        Raises:
            QueueFullError: there is no room.
            ClosedError: the engine is closed.
        """
        request, future = Request(0, options, Alike(options), delay_s), Future[Any]()
        with self._changed:
            if self._closed:
                raise ClosedError(_CLOSED)
            if len(self._pending) >= self._most:
                self._statistics.count("refused")
                raise QueueFullError(
                    f"{self._most} inputs are waiting or under way, which is as many as are taken at once; wait for "
                    "some of their futures, or turn the caller away"
                )
            self._pending[request] = future
        future.add_done_callback(partial(self._on_done, request))
        return request, future

    def withdraw(self, request: Request) -> None:
        """Takes an admission back."""
        self._forget(request)

    def offer(self, request: Request, raw: Any) -> None:
        """Brings the input that was admitted."""
        with self._changed:
            if request not in self._pending:
                return
            begins = not self._waiting and self._splitting < self._ahead
            if begins:  # without the dispatcher, which may be busy with a batch
                self._splitting += 1
            else:
                self._waiting.append((request, raw))
                self._changed.notify_all()
            if not self._running:
                self._dispatcher.submit(self._dispatch)
                self._running = True
        if begins:
            self._begin(request, raw)

    def fail(self, request: Request, error: BaseException) -> None:
        """Answers a request with an error; does nothing if it has been answered."""
        future = self._claim(request)
        if future is not None:
            future.set_exception(error)

    def close(self) -> None:
        """Ends the dispatcher; whatever is under way fails with a ClosedError."""
        with self._changed:
            self._closed = True
            requests = list(self._pending)
            self._changed.notify_all()
        for request in requests:
            self.fail(request, ClosedError(_CLOSED))
        self._dispatcher.close()

    def join(self, seconds: float) -> None:
        """Waits until the dispatcher has ended, after `close`, or for so long."""
        self._dispatcher.join(seconds)

    def _dispatch(self) -> None:
        """Runs batches until nothing is left to do; on the dispatcher's thread."""
        try:
            while self._step():
                pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, nobody is to wait for ever
            with self._changed:
                self._running = False
                requests = list(self._pending)
            for request in requests:
                self.fail(request, error)
            self._launched.clear()
            self._stages.clear()

    def _step(self) -> bool:
        """Does the next thing that there is to do, or waits for it; False once nothing is under way."""
        stages = self._stages
        self._take()
        size = stages.size
        due = None if stages.batches.busy else stages.buckets.take_due(size, time.monotonic())
        batch = due or stages.buckets.take_full(size)
        if batch is None and not self._ahead:  # so much waits that nothing more is taken
            batch = stages.buckets.take_oldest(size)
        if batch is not None:
            self._launched.update(entry.item for entry in batch if isinstance(entry.item, Request))
            stages.launch(batch)
        elif not stages.land():
            return self._wait()
        self._answer()
        return True

    def _take(self) -> None:
        """Begins to split what waits, as far as there is room, and receives what has been split."""
        stages = self._stages
        with self._changed:
            self._ahead = stages.room(0, len(stages.buckets))
            free = max(0, self._ahead - self._splitting)
            begun = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            split = [self._split.popleft() for _ in range(len(self._split) if self._ahead else 0)]
            self._splitting += len(begun) - len(split)
        for request, raw in begun:
            self._begin(request, raw)
        for request in split:
            self._receive(request)
        if split:
            self._answer()

    def _begin(self, request: Request, raw: Any) -> None:
        try:
            if request.wanted:
                self._stages.begin(request, raw)
        except RuntimeError as error:  # no thread starts any more: the interpreter ends
            closed = ClosedError(f"no thread can take this input: {error}")
            closed.__cause__ = error
            self.fail(request, closed)
        self._watch(request)

    def _receive(self, request: Request) -> None:
        if not request.wanted:
            return
        if self._stages.receive(request):
            with self._changed:
                self._splitting += 1
            self._watch(request)
        else:
            self._launched.add(request)

    def _watch(self, request: Request) -> None:
        """Has the dispatcher told when what is being split is over."""
        if isinstance(request.split, Future):
            request.split.add_done_callback(partial(self._on_split, request))
        else:
            self._on_split(request)

    def _on_split(self, request: Request, _: object = None) -> None:
        with self._changed:
            self._split.append(request)
            self._changed.notify_all()

    def _on_done(self, request: Request, future: Future[Any]) -> None:
        """Forgets a request that its caller has cancelled."""
        if not future.cancelled() or self._forget(request) is None:
            return
        self._statistics.count("cancelled")
        future.set_running_or_notify_cancel()  # tells those who wait for it among others
        if isinstance(request.split, Future):
            request.split.cancel()
        with self._changed:
            self._changed.notify_all()

    def _answer(self) -> None:
        """Gives the outcomes of all that is done."""
        done = [request for request in self._launched if request.done or not request.wanted]
        self._launched.difference_update(done)
        for request in done:
            future = self._claim(request)
            if future is None:
                continue
            outcome = self._stages.outcome(request)
            if isinstance(outcome, InputError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _claim(self, request: Request) -> Future[Any] | None:
        """The future of a request that is still to be answered; from here on it cannot be cancelled."""
        with self._changed:
            future = self._forget(request)
            return future if future is not None and future.set_running_or_notify_cancel() else None

    def _forget(self, request: Request) -> Future[Any] | None:
        with self._changed:
            request.dropped = True
            return self._pending.pop(request, None)

    def _wait(self) -> bool:
        """Waits until there is something to do; False once nothing is under way."""
        began = time.perf_counter()
        with self._changed:
            batches = self._stages.batches
            stage = "forward" if batches.under_way else "split" if self._splitting else "source"
            while not self._closed and self._pending and not batches.landed:
                seconds = math.inf if batches.busy else self._stages.buckets.due - time.monotonic()
                if self._split or (self._waiting and self._splitting < self._ahead) or seconds <= 0:
                    break
                self._changed.wait(min(seconds, threading.TIMEOUT_MAX))
            self._running = bool(self._pending) and not self._closed
            if not self._running:
                self._waiting.clear()
                self._launched.clear()
                self._stages.clear()
            running = self._running
        self._statistics.add(stage, waited=time.perf_counter() - began)
        return running


_CLOSED = "the pipeline was closed before this input was done; later ones are taken again"

_OPEN: weakref.WeakSet[Intake] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Ends what is under way when the interpreter ends: no thread may be in the model by then."""
    intakes = list(_OPEN)
    for intake in intakes:
        intake.close()
    for intake in intakes:
        intake.join(EXIT_S)
