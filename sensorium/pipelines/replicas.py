"""Replicas: copies of a model on several devices, each with a thread that runs batches there, for all calls in turn."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from sensorium.errors import DeviceError
from sensorium.pipelines.forwarding import Flights, Forwarder
from sensorium.pipelines.items import Entry
from sensorium.pipelines.workers import SerialThread

EXIT_S = 10.0
"""Seconds for which the end of a pipeline, or of the interpreter, waits for a batch that is running."""


class Owner(Protocol):
    """Whose batches a replica runs.

    Attributes:
        closed: whether nobody wants them any more.
    """

    closed: bool

    def landed_on(self, replica: Replica) -> None:
        """A batch is over, on the replica's thread."""
        ...

    def taken_back(self, load: Load, error: DeviceError) -> None:
        """A batch is not over, and will not be on its replica, whose device has failed for good."""
        ...

    def fail(self, error: BaseException) -> None:
        """A fault of the engine's own."""
        ...


@dataclass(slots=True, eq=False)
class Load:
    """A batch on a replica.

    Attributes:
        entries: its units.
        flights: of the same call on the same replica.
        owner: is told when it is over.
        replica: which runs it.
    """

    entries: list[Entry]
    flights: Flights
    owner: Owner
    replica: Replica

    @property
    def left(self) -> list[Entry]:
        """The units that have come to nothing yet."""
        return [e for e in self.entries if e.item.wanted and e.position not in e.item.parts]

    def launch(self) -> None:
        """Runs it, or what is still wanted of it."""
        if not self.owner.closed:
            self.flights.launch([entry for entry in self.entries if entry.item.wanted])


class Replica:
    """A copy of a model on one device, with a thread of its own.

    A batch is launched before the one ahead of it is decoded, where the device overlaps them, whichever calls they
    belong to.

    Args:
        forwarder: runs batches there.
        threads: how many torch may use for one batch; None for as many as it does.
    """

    def __init__(self, forwarder: Forwarder, *, threads: int | None) -> None:
        self.forwarder, self._threads = forwarder, threads
        self._lock = threading.Lock()
        self._waiting: deque[Load] = deque()
        self._under_way: list[Load] = []  # its thread's alone
        self._count = 0
        self._thread: SerialThread | None = None
        self._running = self._told = False
        _OPEN.add(self)

    @property
    def queued(self) -> int:
        """How many batches it has, of all calls."""
        return self._count

    @property
    def lost(self) -> DeviceError | None:
        """Why its device does nothing any more, if it does not."""
        return self.forwarder.lost

    @property
    def depth(self) -> int:
        """How many batches are under way there while the next one is launched."""
        return int(self.forwarder.runtime.overlaps)

    def start(self) -> None:
        """Starts its thread; not to be called on another replica's, which has its own share of torch's threads."""
        with self._lock:
            if self._thread is None:
                self._thread = SerialThread(f"sensorium-{self.forwarder.device}", threads=self._threads)
                self._thread.start()

    def take(self, load: Load) -> bool:
        """Takes a batch, to be run in its turn; False if its device is lost."""
        with self._lock:
            if self.forwarder.lost is not None:
                return False
            if self._thread is None:  # it was closed by another thread since this call began
                self._thread = SerialThread(f"sensorium-{self.forwarder.device}", threads=self._threads)
            self._waiting.append(load)
            self._count += 1
            if not self._running:
                self._running = True
                self._thread.submit(self._work)
            return True

    def tells_loss(self) -> DeviceError | None:
        """Why its device does nothing any more, once."""
        with self._lock:
            if self._told or self.forwarder.lost is None:
                return None
            self._told = True
            return self.forwarder.lost

    def leave_out(self, entry: Entry) -> None:
        """Takes a unit out of its batch, which is under way; on this replica's thread."""
        for load in self._under_way:
            load.entries = [each for each in load.entries if each is not entry]

    def drop(self) -> None:
        """Forgets the batches that have not begun."""
        with self._lock:
            self._count -= len(self._waiting)
            self._waiting.clear()

    def close(self) -> None:
        """Ends the thread when it has done what it was handed, for which it waits a while."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
            thread.join(EXIT_S)

    def _work(self) -> None:
        """Runs batches until there are none; on its thread."""
        while True:
            with self._lock:
                load = self._waiting.popleft() if self._waiting else None
                if load is None and not self._under_way:
                    self._running = False
                    return
            try:
                self._advance(load)
            except DeviceError as error:
                self._lose(error.with_traceback(None))  # whose frames hold what lies on the device
            except BaseException as error:  # noqa: BLE001 - whatever it is, nobody is to wait for ever
                self._give_up(error)
            del load

    def _advance(self, load: Load | None) -> None:
        """Launches the next batch, or lands the oldest one where none waits."""
        limit = self.depth
        if load is None:
            limit = len(self._under_way) - 1
        else:
            self._under_way.append(load)
            load.launch()
            self._settle()
        while len(self._under_way) > limit:
            if not self._under_way[0].flights.land():
                raise RuntimeError("a batch is neither over nor under way")
            self._settle()

    def _settle(self) -> None:
        """Tells the owners of the batches that are over."""
        over = [load for load in self._under_way if load.owner.closed or not load.left]
        self._under_way = [load for load in self._under_way if load not in over]
        with self._lock:
            self._count -= len(over)
        for load in over:
            load.owner.landed_on(self)

    def _lose(self, error: DeviceError) -> None:
        """Gives back all that it has: other replicas may run it."""
        with self._lock:
            self.forwarder.lost = error
            loads = [*self._under_way, *self._waiting]
            self._under_way = []
            self._waiting.clear()
            self._count = 0
        for load in loads:
            load.owner.taken_back(load, error)

    def _give_up(self, error: BaseException) -> None:
        loads, self._under_way = self._under_way, []
        with self._lock:
            self._count -= len(loads)
        for load in loads:
            load.owner.landed_on(self)
            load.owner.fail(error)


def replicas_of(forwarders: Sequence[Forwarder]) -> list[Replica]:
    """A replica for each device; those on the CPU share torch's threads among them."""
    share = max(1, torch.get_num_threads() // len(forwarders))
    return [Replica(each, threads=share if each.device.type == "cpu" else None) for each in forwarders]


_OPEN: weakref.WeakSet[Replica] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Ends what is under way when the interpreter ends: no thread may be in a model by then."""
    replicas = list(_OPEN)
    for replica in replicas:
        replica.drop()
    for replica in replicas:
        replica.close()
