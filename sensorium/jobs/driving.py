"""One run of a job: hands shards to workers, wherever they are, and finds the inputs that end them."""

from __future__ import annotations

import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import sensorium.errors
from sensorium.errors import JobError, JobStoppedError, OptionError, SensoriumError, UnknownNameError
from sensorium.jobs.crew import Crew, Event, Worker, start_order
from sensorium.jobs.description import FOUND, check_same, digest_of, write_description
from sensorium.jobs.listing import Listing
from sensorium.jobs.parts import Part, counts_of, find_parts
from sensorium.jobs.reporting import JobReport, told_codes
from sensorium.jobs.settings import RunSettings
from sensorium.jobs.shard import Shard
from sensorium.jobs.stores import Store
from sensorium.jobs.timings import Timings

TICK_S = 0.2
MOST_LOST = 2
"""Workers that may end one after the other before their model is loaded."""
MOST_CRASHES = 10
"""Workers that may end one after the other without a shard being done, before the job is given up."""
MOST_LOSSES = 10
"""Times that one shard may be lost with the machine that it is on, and that workers may be before they are ready."""


class Driver:
    """Workers, and what they are told.

    Args:
        folder: of the job.
        description: of `job.json`; gets what the workers find.
        settings: how to run.
        crew: where workers come from.
    """

    def __init__(self, folder: Store, description: dict[str, Any], settings: RunSettings, crew: Crew) -> None:
        self._folder, self._description, self._settings, self._crew = folder, description, settings, crew
        self._timings = Timings(folder)
        self._events: queue.Queue[Event] = queue.Queue()
        self._workers: list[Worker] = []
        self._timed_out: set[Worker] = set()
        self._leaving: set[Worker] = set()
        self._begun: dict[Worker, float] = {}
        self._shards: dict[int, Shard] = {}
        self._waiting: deque[Shard] = deque()
        self._started, self._in_a_row, self._lost, self._gone = 0, 0, 0, 0
        self._looked = time.monotonic()
        self._job = ""
        self.report = JobReport()

    def run(
        self,
        listing: Listing | None,
        list_inputs: Callable[[Mapping[str, Any]], Listing],
        again: list[str] | None,
        shown: Callable[[JobReport, int], None],
    ) -> JobReport:
        """Does what is still to be done.

        Args:
            listing: the job's inputs; None where they have still to be listed.
            list_inputs: lists them; told the task's inputs.
            again: the codes of failures that are tried again, empty for all; None to try none again.
            shown: is told now and then how the job stands, and how many inputs are done.

        Raises:
            JobStoppedError: too many inputs failed, or workers do not run.
            SensoriumError, OSError: what a worker refuses.
        """
        try:
            known = find_parts(self._folder)
            first = listing is not None and (again is not None or all(n in known for n in range(listing.shards)))
            if listing is not None and first:  # there may be nothing to do
                self._plan(listing, again)
                if not self._waiting:
                    return self.report
            self._start()  # loads its model while inputs are listed, and parts are read
            if listing is not None and not first:
                self._plan(listing, again)
            task = self._wait_for("task")
            if listing is None:
                self._plan(list_inputs(task), again)
            self._crew.learn(task)
            while self._shards:
                self._fill()
                self._step()
                under_way = (worker.gauge.given for worker in self._workers if worker.order)
                shown(self.report, self.report.done + sum(under_way))
            return self.report
        finally:
            self.report.workers_started = self._started
            for worker in self._workers:
                worker.end()
            self._crew.close()
            self._timings.keep()

    def _plan(self, listing: Listing, again: list[str] | None) -> None:
        self.report.inputs, self.report.shards = listing.inputs, listing.shards
        self._job = digest_of(self._description)
        parts, failed = find_parts(self._folder), set[str]()
        if parts and max(parts) >= listing.shards:
            raise JobError(f"{parts[max(parts)].path} is of no shard of this job; remove it")
        known = dict(counts_of(parts.values(), self._job))
        for number in range(listing.shards):
            part = parts.get(number)
            counts = None if part is None else known[part]
            failed |= {name.removeprefix("code:") for name in counts or {} if name.startswith("code:")}
            if part is None or counts is None:
                self._waiting.append(Shard(number))
            elif (changed := listing.to_do_again(number, part.generation)) or _to_try_again(counts, again):
                self._waiting.append(Shard(number, part.generation + 1, again, changed))
            else:
                self.report.add(counts)
        self._shards = {shard.number: shard for shard in self._waiting}
        for code in again or ():
            if code not in failed:
                raise UnknownNameError("code of inputs that failed", code, failed)

    def _start(self) -> None:
        rank = min({*range(len(self._workers) + 1)} - {worker.rank for worker in self._workers})
        worker = self._crew.start(start_order(self._folder, self._description), self._events, rank)
        self._workers.append(worker)
        self._begun[worker] = time.monotonic()
        self._started += 1

    def _fill(self) -> None:
        """Starts as many workers as have a place, and something to do."""
        while len(self._workers) < min(self._crew.places(), len(self._shards)):
            self._start()

    def _wait_for(self, event: str) -> dict[str, Any]:
        """The first event of this kind."""
        while True:
            if not self._workers:
                self._start()
            try:
                worker, told = self._events.get(timeout=TICK_S)
            except queue.Empty:
                self._crew.check()
                self._check_loading()
                continue
            if told["event"] == event:
                return told
            self._take(worker, told)

    def _step(self) -> None:
        """Deals with what has happened, and looks now and then for workers that hang, or have no place."""
        with suppress(queue.Empty):
            self._take(*self._events.get(timeout=TICK_S))
        if time.monotonic() - self._looked < TICK_S:
            return
        self._looked = time.monotonic()
        self._crew.check()
        self._check_loading()
        for worker in self._workers:
            if worker.order is not None and worker.idle_s() > self._settings.timeout_s:
                self._timed_out.add(worker)
                worker.kill()

    def _check_loading(self) -> None:
        """Ends the run where a worker does not come to an end with loading its model: another one would not, either."""
        most = self._settings.load_timeout_s
        for worker in self._workers:
            if not worker.ready and time.monotonic() - self._begun[worker] > most:
                raise JobStoppedError(
                    f"a worker has not loaded its model within load_timeout_s={most:g} s. Look what it waits for (a "
                    "download, a network folder, the lock of another process), or allow more; what was done is kept"
                )

    def _take(self, worker: Worker, told: dict[str, Any]) -> None:
        event = told["event"]
        if event == "refused":
            raise _error(told["error"], told["message"])
        if event == "ready":
            self._compare(told["facts"])
            worker.ready, self._lost, self._gone = True, 0, 0
        elif event == "cleared":
            self._shards[told["shard"]].suspects = []
            self._waiting.appendleft(self._shards[told["shard"]])
            worker.order = None
        elif event == "done":
            self._finish(worker, told)
        elif event == "ended":
            self._bury(worker)
        elif event == "lost":
            self._lose(worker)
        self._hand_out()

    def _finish(self, worker: Worker, told: Mapping[str, Any]) -> None:
        self._in_a_row = 0
        self._timings.note(told, self._shards.pop(told["shard"]).generation)
        self.report.add(Counter(told["counts"]))
        self.report.ran += told["ran"]
        worker.order = None
        worker.ran += told["ran"]
        bad = self.report.failed + self.report.quarantined
        if self._settings.too_many(bad, self.report.done):
            raise JobStoppedError(
                f"{bad} of the first {self.report.done} inputs failed, more than max_failures="
                f"{self._settings.max_failures}: {told_codes(self.report.codes, 3)}. Their rows say why; the same call "
                "with more allowed goes on"
            )
        most = self._settings.max_inputs_per_worker
        if most is not None and worker.ran >= most and worker not in self._leaving:
            self._leaving.add(worker)
            worker.let_go()

    def _bury(self, worker: Worker) -> None:
        """Deals with the end of a worker."""
        self._workers.remove(worker)
        how = worker.how_it_ended()
        order, hung = worker.order, worker in self._timed_out
        if order is not None and not order["alone"] and (part := self._written(order)) is not None:
            self._shards.pop(order["shard"])  # it has ended just after it was done
            self.report.add(part.counts(self._job))
        elif order is not None:
            self._in_a_row += 1
            shard = self._shards[order["shard"]]
            seconds = f"{self._settings.timeout_s:g} s"
            told = f"it gave nothing for {seconds}" if hung else f"the worker ended {how}"
            before = len(shard.quarantined)
            shard.blame(worker.gauge, code="timed-out" if hung else "crashed", how=f"{told}, twice")
            self._in_a_row = 0 if len(shard.quarantined) > before else self._in_a_row
            self._waiting.appendleft(shard)
        elif not worker.ready and worker not in self._leaving and self._lost < MOST_LOST:
            self._lost += 1
        elif not worker.ready and worker not in self._leaving:
            worker.end()
            raise JobStoppedError(
                f"a worker ended {how} before its model was loaded; what it printed stands above. A model needs its "
                "memory once for each worker"
            )
        worker.end()
        if self._in_a_row >= MOST_CRASHES:
            raise JobStoppedError(
                f"{MOST_CRASHES} workers ended one after the other, the last one {how}, and no input alone is to "
                "blame; what was done is kept"
            )

    def _lose(self, worker: Worker) -> None:
        """Deals with a worker that has gone together with its machine: no input is to blame."""
        self._workers.remove(worker)
        worker.end()
        order, times = worker.order, 0
        if order is not None and not order["alone"] and (part := self._written(order)) is not None:
            self._shards.pop(order["shard"])
            self.report.add(part.counts(self._job))
        elif order is not None:
            shard = self._shards[order["shard"]]
            shard.losses += 1
            times = shard.losses
            self._waiting.appendleft(shard)
        elif not worker.ready:
            self._gone += 1
            times = self._gone
        if times >= MOST_LOSSES:
            what = "before it was ready" if order is None else f"with shard {order['shard']}"
            raise JobStoppedError(
                f"{times} times a worker was lost {what}, together with its machine; what was done is kept"
            )

    def _written(self, order: Mapping[str, Any]) -> Part | None:
        """The part that an order was to make, if it is there."""
        part = find_parts(self._folder).get(order["shard"])
        return part if part is not None and part.generation == order["generation"] else None

    def _hand_out(self) -> None:
        for worker in self._workers:
            if worker.ready and worker.order is None and worker not in self._leaving and self._waiting:
                worker.do({**self._waiting.popleft().order(), "job": self._job})

    def _compare(self, facts: dict[str, Any]) -> None:
        """Notes what the first worker has found, and refuses a later one that has found something else."""
        if "result" in self._description:
            check_same(self._description, facts, FOUND, self._folder)
            return
        self._description.update(facts)
        write_description(self._folder, self._description)


def _to_try_again(counts: Mapping[str, int], codes: list[str] | None) -> bool:
    if codes is None:
        return False
    failed = {name.removeprefix("code:") for name in counts if name.startswith("code:")}
    return bool(failed & set(codes) if codes else failed)


def _error(name: str, message: str) -> Exception:
    """The error that a worker has told of."""
    kind = getattr(sensorium.errors, name, None)
    if name == "UnknownNameError":  # is made of more than its message
        return OptionError(message)
    if isinstance(kind, type) and issubclass(kind, SensoriumError):
        return kind(message)
    return OSError(message) if name.endswith("Error") else JobError(f"{name}: {message}")
