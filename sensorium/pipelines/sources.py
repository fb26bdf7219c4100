"""Where the inputs of a run come from: memory, a source that may be slow, or the results of a run upstream."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol

import torch

from sensorium.pipelines.items import Item
from sensorium.pipelines.statistics import Statistics

Begin = Callable[[int, Any], Item]
"""Makes an item of an input and its position, and starts to split it."""

LEAVE_S = 1.0
"""Seconds for which leaving a stream waits for the source to give what it is being asked for."""

_END = (-1, None)


class Source(Protocol):
    """What a run takes its inputs from.

    Attributes:
        exhausted: whether nothing more will come.
        error: what the caller's own iterator has raised, after all that it gave.
        live: whether it may keep a run waiting.
    """

    exhausted: bool
    error: Exception | None
    live: bool

    @property
    def under_way(self) -> bool:
        """Whether batches that it waits for are over by themselves, as those of a run upstream may be."""
        ...

    @property
    def stirs(self) -> bool:
        """Whether there is something to be taken that `take` has not told of."""
        ...

    def take(self, room: int, begin: Begin) -> list[Item]:
        """Takes up to `room` inputs and starts to split them, without waiting for a live source."""
        ...

    def quiet(self, seconds: float) -> bool:
        """Whether nothing more can be taken, even within so many seconds; waits only for a live source."""
        ...

    def wait(self) -> bool:
        """Waits until something can be taken; False if nothing more will come."""
        ...

    def close(self) -> None:
        """Releases what it reads."""
        ...


class InMemory:
    """Inputs that are read on the run's own thread, as they are asked for: those that lie in memory."""

    live = under_way = stirs = False

    def __init__(self, inputs: Iterable[Any], statistics: Statistics) -> None:
        self._inputs: Iterator[tuple[int, Any]] = enumerate(inputs)
        self._statistics = statistics
        self.exhausted = False
        self.error: Exception | None = None

    def take(self, room: int, begin: Begin) -> list[Item]:
        """Takes up to `room` inputs."""
        items: list[Item] = []
        spent = 0.0
        while len(items) < room and not self.exhausted:
            began = time.perf_counter()
            try:
                index, raw = next(self._inputs, _END)
            except Exception as error:  # noqa: BLE001 - the caller's own iterator failed: what it gave before is still delivered
                self.error = error
                index = -1
            spent += time.perf_counter() - began
            if index < 0:
                self.exhausted = True
            else:
                items.append(begin(index, raw))
        self._statistics.add("source", seconds=spent, waited=spent)
        return items

    def quiet(self, seconds: float) -> bool:
        """True: whatever there was room for has been taken."""
        return True

    def wait(self) -> bool:
        """Whether there is more."""
        return not self.exhausted

    def close(self) -> None:
        """Does nothing."""


class ReadAhead:
    """Inputs that are read on a thread of its own, as far ahead as the run has room for.

    The thread starts when the first input is asked for, and works in a copy of the context variables of that moment.

    Args:
        inputs: the caller's iterable.
        statistics: of the engine.
        changed: what the run waits on; reentrant, as a stream may be collected, and closed, on the reading thread.
    """

    live, under_way = True, False

    def __init__(self, inputs: Iterable[Any], statistics: Statistics, changed: threading.Condition) -> None:
        self._inputs: Iterable[Any] | None = inputs
        self._statistics, self._changed = statistics, changed
        self._arrived: list[Item] = []
        self._room = 0
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._ended = self._closed = False
        self.exhausted = False
        self.error: Exception | None = None

    @property
    def stirs(self) -> bool:
        """Whether something has been read, or nothing more will be, of which `take` has not told."""
        return not self.exhausted and (bool(self._arrived) or self._ended or self._closed)

    def take(self, room: int, begin: Begin) -> list[Item]:
        """Takes what has been read, and lets so much more be read as there is room for."""
        with self._changed:
            if self._thread is None:
                self._start(begin)
            items, self._arrived = self._arrived, []
            self._room = room - len(items)
            self._changed.notify_all()
            self.exhausted = self._ended or self._closed
            failure = self._failure
        if isinstance(failure, Exception):
            self.error = failure
        elif failure is not None:  # such as KeyboardInterrupt
            raise failure
        return items

    def quiet(self, seconds: float) -> bool:
        """Whether nothing has been read that could be taken, even after so many seconds."""
        return self.exhausted or not self._await(seconds)

    def wait(self) -> bool:
        """Waits until something has been read."""
        began = time.perf_counter()
        if not self.exhausted:
            self._await(None)
        self._statistics.add("source", waited=time.perf_counter() - began)
        return not self.exhausted

    def close(self) -> None:
        """Ends the thread, for which it waits a while, and the splits of what it read and nobody has taken."""
        with self._changed:
            self._closed = True
            self._inputs = None
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(LEAVE_S)
        with self._changed:
            untaken, self._arrived = self._arrived, []
        for item in untaken:
            if isinstance(item.split, Future):
                item.split.cancel()

    def _await(self, seconds: float | None) -> bool:
        """Waits until something can be taken or will never be; False if it has taken longer, or there is no room."""
        with self._changed:
            if seconds is not None and self._room <= 0:
                return bool(self._arrived)
            return self._changed.wait_for(lambda: bool(self._arrived) or self._ended or self._closed, seconds)

    def _start(self, begin: Begin) -> None:
        modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled()  # a thread's own, as the context is
        context = contextvars.copy_context()
        inputs, self._inputs = self._inputs, None
        assert inputs is not None
        self._thread = threading.Thread(
            target=context.run, args=(self._read, inputs, begin, modes), name="sensorium-source", daemon=True
        )
        self._thread.start()

    def _read(self, inputs: Iterable[Any], begin: Begin, modes: tuple[bool, bool]) -> None:
        failure: BaseException | None = None
        try:
            with torch.inference_mode(modes[0]), torch.set_grad_enabled(modes[1]):
                self._read_all(enumerate(inputs), begin)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who gets it
            failure = error
        with self._changed:
            self._failure, self._ended = failure, True
            self._changed.notify_all()

    def _read_all(self, inputs: Iterator[tuple[int, Any]], begin: Begin) -> None:
        while self._permitted():
            began = time.perf_counter()
            index, raw = next(inputs, _END)
            self._statistics.add("source", seconds=time.perf_counter() - began)
            if index < 0 or self._closed:
                return
            item = begin(index, raw)
            del raw
            with self._changed:
                self._arrived.append(item)
                self._changed.notify_all()

    def _permitted(self) -> bool:
        """Waits until there is room for an input; False if none is wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._arrived) < self._room)
            return not self._closed
