"""A seat: what a cluster places on a node, with a share of it, and below it one worker process after the other.

The process below may end, as over a picture that a decoder falls over, and the seat stays. Calls may come twice, where
an answer was lost on the way, and do no more than they would once.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sensorium.jobs.crew import Event, LocalWorker
from sensorium.jobs.gauge import Gauge, GaugeReading


@dataclass(frozen=True)
class SeatFacts:
    """Where a seat is.

    Attributes:
        host: the name of the machine.
        node: what Ray calls it.
        gauge: the path of the worker's gauge on it.
        version: of Sensorium there.
    """

    host: str
    node: str
    gauge: str
    version: str


@dataclass(frozen=True)
class News:
    """How a worker process is.

    Attributes:
        events: those from the one that was asked for, in order.
        order: the number of the last order that it got.
        reading: how far it is with that.
        idle_s: for how many seconds it has got no further.
        ended: how it ended; None while it runs.
    """

    events: list[dict[str, Any]]
    order: int
    reading: GaugeReading
    idle_s: float
    ended: str | None


class Seat:
    """Runs a worker process, and tells of it."""

    def __init__(self) -> None:
        self._worker: LocalWorker | None = None
        self._life, self._order = 0, 0
        self._events: list[dict[str, Any]] = []
        self._come = threading.Condition()

    def begin(self, life: int, start: Mapping[str, Any], env: Mapping[str, str]) -> SeatFacts:
        """Starts a process in place of that before.

        Args:
            life: its number; a call with the same one again starts no other.
            start: its first order.
            env: what is added to its environment.
        """
        import ray

        node = ray.get_runtime_context().get_node_id()
        with self._come:
            if life != self._life:
                self.end()
                events: queue.Queue[Event] = queue.Queue()
                self._life, self._order, self._events = life, 0, []
                self._worker = LocalWorker(start, events, Gauge.make(), rank=0, keep=(), env=env)  # see `read_gauge`
                threading.Thread(target=self._listen, args=(events, life), daemon=True).start()
            assert self._worker is not None
            return SeatFacts(socket.gethostname(), node, str(self._worker.gauge.path), version("sensorium"))

    def do(self, number: int, order: dict[str, Any]) -> None:
        """Gives the process an order; one of the same number again is not given."""
        with self._come:
            if self._worker is not None and number > self._order:
                self._order = number
                self._worker.do(order)

    def news(self, seen: int, wait_s: float) -> News:
        """What the process has told, as soon as there is something, or how far it is after so many seconds.

        Args:
            seen: how many of its events are known already.
            wait_s: how long to wait for one.
        """
        until = time.monotonic() + wait_s
        with self._come:
            while len(self._events) <= seen and (left := until - time.monotonic()) > 0:
                self._come.wait(left)
            worker = self._worker
            assert worker is not None
            events = self._events[seen:]
            ended = any(event["event"] == "ended" for event in events)
            how = worker.how_it_ended() if ended else None
            return News(events, self._order, worker.gauge.read(), worker.idle_s(), how)

    def let_go(self) -> None:
        """Tells the process to end when it has nothing to do."""
        if self._worker is not None:
            self._worker.let_go()

    def kill(self) -> None:
        """Ends the process."""
        if self._worker is not None:
            self._worker.kill()

    def end(self) -> None:
        """Ends the process, and waits until it is gone."""
        if self._worker is not None:
            self._worker.end()

    def _listen(self, events: queue.Queue[Event], life: int) -> None:
        while True:
            _, told = events.get()
            with self._come:
                if life != self._life:
                    return
                self._events.append(told)
                self._come.notify_all()
            if told["event"] == "ended":
                return


def read_gauge(path: str) -> GaugeReading:
    """What the gauge of a worker shows whose seat has ended; the gauge is removed.

    It is called on the machine that it lies on, when the seat's process, and with it the worker, has been ended.
    """
    with contextlib.suppress(OSError):
        gauge = Gauge(Path(path))
        reading = gauge.read()
        gauge.remove()
        return reading
    return GaugeReading()
