"""Workers on a cluster of Ray, which places them and nothing else: results are written where they are made."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sensorium.errors import JobStoppedError
from sensorium.jobs.cluster import Share, connect, nodes_of, what_there_is
from sensorium.jobs.crew import Crew, Event, Worker
from sensorium.jobs.gauge import GaugeReading
from sensorium.jobs.seat import News, Seat, SeatFacts, read_gauge
from sensorium.jobs.settings import RunSettings

PLACE_S = 50.0
"""Seconds within which one worker at least has to have its place."""
LOOK_S = 2.0
"""Seconds between two looks at which nodes there are."""
NEWS_S = 2.0
"""Seconds that a seat waits for news before it says that there is none."""
GAUGE_S = 30.0
"""Seconds within which a node has to say how far a worker was whose seat has ended."""


class RayWorker(Worker):
    """A worker process below a seat, as the run sees it.

    Args:
        seat: the handle of the actor.
        rank: its number among those that run.
        life: its number among all that were started.
        events: where its events go.
    """

    gauge: GaugeReading

    def __init__(self, seat: Any, rank: int, life: int, events: queue.Queue[Event]) -> None:
        super().__init__(GaugeReading(), rank)
        self.seat, self.life, self.events = seat, life, events
        self.facts: SeatFacts | None = None
        self.seen, self.over = 0, False
        self._idle_s, self._number, self._how = 0.0, 0, "in a way that is not known"

    def do(self, order: dict[str, Any]) -> None:
        """Sends it an order."""
        self._number += 1
        self.gauge, self._idle_s, self.order = GaugeReading(), 0.0, order
        self.seat.do.remote(self._number, order)

    def idle_s(self) -> float:
        """As it was last heard; a node that cannot be heard is no worker that hangs."""
        return self._idle_s

    def let_go(self) -> None:
        """Tells it to end when it has nothing to do."""
        self.seat.let_go.remote()

    def kill(self) -> None:
        """Ends the process."""
        self.seat.kill.remote()

    def end(self) -> None:
        """Leaves it alone; its seat takes the next one, or has gone."""
        self.over = True

    def how_it_ended(self) -> str:
        """What its seat has said."""
        return self._how

    def hear(self, news: News) -> None:
        """Takes note of how it is, and passes its events on."""
        if news.order == self._number:  # else it is of the order before
            self.gauge, self._idle_s = news.reading, news.idle_s
        self._how = news.ended or self._how
        self.seen += len(news.events)
        for event in news.events:
            where = f" (on {self.facts.host})" if event["event"] == "refused" and self.facts is not None else ""
            self.events.put((self, {**event, "message": event["message"] + where} if where else event))

    def ended(self, reading: GaugeReading, how: str) -> None:
        """Its seat has ended, and with it the process; this is how far it was."""
        self.gauge, self._how = reading, how
        self.events.put((self, {"event": "ended"}))


@dataclass(frozen=True)
class Awaited:
    """A call to a seat, or about one, that is waited for.

    Attributes:
        kind: "begin", "news" or "gauge".
        worker: the worker that it is about.
        ref: what Ray gives for the answer.
        until: when it is given up.
    """

    kind: str
    worker: RayWorker
    ref: Any
    until: float


class RayCrew(Crew):
    """Workers on a cluster of Ray.

    Args:
        settings: how to run.
        device: the job's, as `pipeline()` takes it.
    """

    def __init__(self, settings: RunSettings, device: Any) -> None:
        self._settings, self._device = settings, device
        self._ray: Any = None  # until there is something to do
        self._mine = False
        self._nodes: list[dict[str, float]] = []
        self._free: list[Any] = []  # seats without a worker
        self._calls: dict[Any, Awaited] = {}  # what is waited for
        self._lock, self._closed = threading.Lock(), False
        self._lives, self._placed, self._looked = 0, 0.0, 0.0
        self._workers: list[RayWorker] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def _open(self) -> None:
        self._ray, self._mine = connect(self._settings.ray_address)
        self._listener.start()
        self._placed = self._looked = time.monotonic()
        self._nodes = [node["Resources"] for node in nodes_of(self._ray)]
        self._share = Share.of(self._settings, self._device, self._nodes)

    def start(self, order: Mapping[str, Any], events: queue.Queue[Event], rank: int) -> Worker:
        """Starts a worker on a seat that is free, or asks for a seat; reaches the cluster first.

        Raises:
            OptionError: Ray is not installed.
            JobError: the cluster is not reached.
        """
        if self._ray is None:
            self._open()
        with self._lock:
            seat = self._free.pop() if self._free else self._new_seat()
            self._lives += 1
            worker = RayWorker(seat, rank, self._lives, events)
            self._workers.append(worker)
        env = {"OMP_NUM_THREADS": str(self._share.cpus)}
        first = {**order, "threads": self._share.cpus}
        self._call("begin", worker, seat.begin.remote(worker.life, first, env))
        return worker

    def places(self) -> int:
        """As many as were asked for, or as the nodes have room for now."""
        if self._settings.workers != "auto":
            return self._settings.workers
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._nodes = [node["Resources"] for node in nodes_of(self._ray)]
        return max(1, sum(map(self._share.fits, self._nodes)))

    def learn(self, task: Mapping[str, Any]) -> None:
        """A worker has no more devices than Ray has given it."""

    def check(self) -> None:
        """Looks whether any worker has its place.

        Raises:
            JobStoppedError: none has; says what was asked for, and what there is.
        """
        self._workers = [worker for worker in self._workers if not worker.over]
        if not self._workers or any(worker.facts for worker in self._workers):
            self._placed = time.monotonic()
        elif time.monotonic() - self._placed > PLACE_S:
            raise JobStoppedError(
                f"no worker has found a place on the Ray cluster in {PLACE_S:g} s. Each takes {self._share} of a node "
                f"(cpus_per_worker, gpus_per_worker); there are {what_there_is(self._ray)}"
            )

    def close(self) -> None:
        """Ends the seats, and the cluster if it was started here."""
        if self._ray is None:
            return
        self._closed = True
        self._listener.join()
        seats = {id(seat): seat for seat in (*self._free, *(worker.seat for worker in self._workers))}
        last = [seat.end.remote() for seat in seats.values()]
        if last:
            self._ray.wait(last, num_returns=len(last), timeout=5.0)
        for seat in seats.values():
            self._ray.kill(seat)
        if self._mine:
            self._ray.shutdown()

    def _new_seat(self) -> Any:
        options = {"num_cpus": self._share.cpus, "num_gpus": self._share.gpus}
        actor = self._ray.remote(**options, max_restarts=0, max_task_retries=-1, max_concurrency=4)(Seat)
        return actor.remote()

    def _listen(self) -> None:
        """Waits for what was called, and calls again."""
        try:
            while not self._closed:
                for call in self._come():
                    try:
                        answer = self._ray.get(call.ref)
                    except self._ray.exceptions.RayError as error:
                        self._fail(call, error)
                    else:
                        self._hear(call, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not wait for ever
            told = f"the Ray cluster was lost: {type(error).__name__}: {error}. The same call goes on"
            for worker in self._workers[:1]:
                self._refuse(worker, told)

    def _come(self) -> list[Awaited]:
        """The calls that have been answered, or are waited for no longer."""
        with self._lock:
            waiting = list(self._calls)
        if not waiting:
            time.sleep(0.05)
            return []
        come, _ = self._ray.wait(waiting, num_returns=1, timeout=0.2)
        if come:
            come, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        now = time.monotonic()
        with self._lock:
            for ref, call in list(self._calls.items()):
                if now > call.until:
                    call.worker.events.put((call.worker, {"event": "lost"}))
                    del self._calls[ref]
            return [self._calls.pop(ref) for ref in come if ref in self._calls]

    def _call(self, kind: str, worker: RayWorker, ref: Any, *, wait_s: float = float("inf")) -> None:
        with self._lock:
            self._calls[ref] = Awaited(kind, worker, ref, time.monotonic() + wait_s)

    def _hear(self, call: Awaited, answer: Any) -> None:
        worker = call.worker
        if call.kind == "gauge":
            worker.ended(answer, "together with the actor above it")
            return
        if call.kind == "begin":
            worker.facts = answer
            if answer.version != version("sensorium"):
                self._refuse(
                    worker,
                    f"{answer.host} has Sensorium {answer.version}, and this machine {version('sensorium')}; expected "
                    "the same",
                )
                return
        else:
            if answer.ended is not None:
                with self._lock:  # before the end is told: the next worker takes it
                    self._free.append(worker.seat)
            worker.hear(answer)
            if answer.ended is not None:
                return
        wait_s = min(NEWS_S, self._settings.timeout_s / 4)
        self._call("news", worker, worker.seat.news.remote(worker.seen, wait_s))

    def _fail(self, call: Awaited, error: Any) -> None:
        """A call has failed, with the seat or with the node that it was for."""
        worker, ray = call.worker, self._ray
        if getattr(error, "actor_init_failed", False) or isinstance(error, ray.exceptions.RayTaskError):
            self._refuse(
                worker,
                f"a worker cannot be started on the cluster: {error}. Each node needs Sensorium as it is here",
            )
        elif call.kind == "gauge" or worker.facts is None:
            worker.events.put((worker, {"event": "lost"}))
        else:  # the node, if it is there, knows how far the worker was
            where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(worker.facts.node, soft=False)
            read = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(read_gauge)
            self._call("gauge", worker, read.remote(worker.facts.gauge), wait_s=GAUGE_S)

    def _refuse(self, worker: RayWorker, told: str) -> None:
        worker.events.put((worker, {"event": "refused", "error": "JobError", "message": told}))
