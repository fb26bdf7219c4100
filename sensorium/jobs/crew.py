"""Workers, as the run that starts them sees them, and who starts them; here as processes on this machine."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.jobs.gauge import Gauge, GaugeReading
from sensorium.jobs.outbox import Outbox
from sensorium.jobs.settings import RunSettings
from sensorium.jobs.stores import Folder, Store, open_store
from sensorium.jobs.stores.store import Lock
from sensorium.pipelines.cores import usable_cores

Event = tuple["Worker", dict[str, Any]]


class Worker(ABC):
    """One worker process, wherever it is.

    Its events come on a queue that all workers share. The last is `{"event": "ended"}`, or `{"event": "lost"}` where
    the machine that it was on has gone, and nothing is known of how far it was.

    Attributes:
        gauge: how far it is.
        order: what it was last told to do; None while it waits.
        ready: whether its model is loaded.
        ran: how many inputs it has run.
        rank: its number among those that run; another gets it when this one has ended.
    """

    def __init__(self, gauge: Gauge | GaugeReading, rank: int) -> None:
        self.gauge = gauge
        self.order: dict[str, Any] | None = None
        self.ready = False
        self.ran, self.rank = 0, rank

    @abstractmethod
    def do(self, order: dict[str, Any]) -> None:
        """Gives it an order."""

    @abstractmethod
    def idle_s(self) -> float:
        """For how many seconds it has got no further with its order."""

    @abstractmethod
    def let_go(self) -> None:
        """Tells it to end when it has nothing to do."""

    @abstractmethod
    def kill(self) -> None:
        """Ends it at once."""

    @abstractmethod
    def end(self) -> None:
        """Ends it, and what was kept for it."""

    @abstractmethod
    def how_it_ended(self) -> str:
        """What is known of a worker that has ended."""


class Crew(ABC):
    """Where the workers of a run come from."""

    @abstractmethod
    def start(self, order: Mapping[str, Any], events: queue.Queue[Event], rank: int) -> Worker:
        """Starts a worker with its first order; its events go to the queue."""

    @abstractmethod
    def places(self) -> int:
        """How many workers there may be now."""

    @abstractmethod
    def learn(self, task: Mapping[str, Any]) -> None:
        """Takes note of what the first worker tells of where it runs."""

    @abstractmethod
    def check(self) -> None:
        """Looks whether workers that were started have found a place.

        Raises:
            JobStoppedError: none has, and it is no use to wait on.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends what was begun for the workers."""


class LocalCrew(Crew):
    """Processes on this machine.

    Args:
        settings: how to run.
        lock: that of the folder, which they inherit where they can.
        folder: of the job.
    """

    def __init__(self, settings: RunSettings, lock: Lock, folder: Store) -> None:
        self._lock, self._auto = lock, settings.workers == "auto"
        self._outbox = Outbox.of(folder)
        self._places = 1 if settings.workers == "auto" else settings.workers

    def start(self, order: Mapping[str, Any], events: queue.Queue[Event], rank: int) -> Worker:
        """Starts a process."""
        threads = max(1, usable_cores() // self._places)
        env = {} if self._places == 1 else {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
        order = order if self._places == 1 else {**order, "threads": threads}
        keep, outbox = self._lock.descriptors, self._outbox
        return LocalWorker(order, events, Gauge.unnamed(), rank=rank, keep=keep, env=env, outbox=outbox)

    def places(self) -> int:
        """As many as were asked for, or one for each device."""
        return self._places

    def learn(self, task: Mapping[str, Any]) -> None:
        """Takes note of how many devices there are."""
        if self._auto:
            self._places = task["devices"]

    def check(self) -> None:
        """A process has its place when it is started."""

    def close(self) -> None:
        """Clears away what lies on this machine."""
        if self._outbox is not None:
            self._outbox.close()


class LocalWorker(Worker):
    """A process on this machine."""

    gauge: Gauge

    def __init__(
        self,
        start: Mapping[str, Any],
        events: queue.Queue[Event],
        gauge: Gauge,
        *,
        rank: int,
        keep: tuple[int, ...],
        env: Mapping[str, str],
        outbox: Outbox | None = None,
    ) -> None:
        """Starts it.

        Args:
            start: its first order.
            events: where its events go.
            gauge: how far it is; one with a name outlives the process that starts it.
            rank: its number among those that run, which says on which of several devices it is.
            keep: file descriptors that it inherits, such as the lock.
            env: what is added to the environment.
            outbox: where it writes, if that is not the job's folder itself.
        """
        super().__init__(gauge, rank)
        self._outbox = outbox
        self._process = subprocess.Popen(  # -P: nothing is imported that lies in the folder of the call
            [sys.executable, "-P", "-m", "sensorium.jobs.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=keep if gauge.descriptor is None else (*keep, gauge.descriptor),
            env={**os.environ, **env},
        )
        self._reader = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._reader.start()
        self._seen = (-1, -1, -1)
        self._since = time.monotonic()
        place = {} if outbox is None else {"folder": str(outbox.folder)}
        self._send({**start, **place, "rank": rank, "gauge": str(self.gauge.path)})

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def do(self, order: dict[str, Any]) -> None:
        """Gives it an order."""
        if self._outbox is not None:
            self._outbox.lay(order)
        self.gauge.reset()
        self.order = order
        self._since = time.monotonic()
        self._send(order)

    def idle_s(self) -> float:
        """For how many seconds it has got no further with its order."""
        now = (self.gauge.taken, self.gauge.given, self.gauge.failed)
        if now[1:] != self._seen[1:] or (self.order is not None and self.order.get("alone") and now != self._seen):
            self._seen, self._since = now, time.monotonic()
        return time.monotonic() - self._since

    def let_go(self) -> None:
        """Tells it to end when it has nothing to do."""
        self._send({"do": "end"})

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def end(self) -> None:
        """Ends it, and waits until it is gone."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with suppress(OSError):  # what was not yet read of an order
            self._process.stdin.close()
        self.gauge.remove()

    def how_it_ended(self) -> str:
        """What is known of a process that has ended."""
        code = self._process.wait()
        return f"by signal {-code}" if code < 0 else f"with exit code {code}"

    def _send(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended: that is an event of its own
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def _read(self, events: queue.Queue[Event]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                events.put((self, self._kept(json.loads(line))))
        events.put((self, {"event": "ended"}))

    def _kept(self, told: dict[str, Any]) -> dict[str, Any]:
        """What it tells, when the part of which it does is in the job's folder."""
        if self._outbox is not None and told["event"] == "done":
            try:
                self._outbox.put(told["part"])
            except (OSError, SensoriumError) as error:
                return {"event": "refused", "error": type(error).__name__, "message": str(error)}
        return told


def start_order(folder: Folder, description: Mapping[str, Any]) -> dict[str, Any]:
    """The first order of a worker."""
    return {"folder": open_store(folder).address, "description": dict(description)}
