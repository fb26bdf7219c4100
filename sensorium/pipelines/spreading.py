"""The batches of one call, spread over the replicas of its model."""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from sensorium.errors import DeviceError, InputError
from sensorium.pipelines.forwarding import Flights, fail
from sensorium.pipelines.items import Entry
from sensorium.pipelines.replicas import Load, Replica
from sensorium.pipelines.statistics import Statistics

AHEAD = 2
"""Batches that a replica has at once of one call, besides those whose outputs are on their way: the one that runs, and
one that waits, so that it need not wait for the call's own thread."""


class Spread:
    """Hands batches to whichever replica has least to do; see `Batches`.

    What a replica cannot run costs no input: the batches of one whose device has failed go to the others, and so does a
    unit that failed alone, until there is none left that has not tried it.

    Args:
        replicas: the copies of the model.
        total: how many inputs there will be, where that is known.
        changed: what the call's own thread waits on, reentrant; told whenever a batch is over.
        statistics: of the engine, told how long that thread has waited for a replica.
    """

    def __init__(
        self, replicas: Sequence[Replica], total: int | None, changed: threading.Condition, statistics: Statistics
    ) -> None:
        self._replicas, self._changed, self._statistics = replicas, changed, statistics
        self._share = None if total is None else -(-total // len(replicas))
        self._flights: dict[Replica, Flights] = {}
        self._own: Counter[Replica] = Counter()
        self._failure: BaseException | None = None
        self._landed = self.closed = False
        for replica in replicas:
            replica.start()

    @property
    def size(self) -> int:
        """The cost that the next batch may have: the size of the replica that would run it."""
        with self._changed:
            return _least_busy(self._with_room() or self._alive() or self._replicas).forwarder.sizer.size

    @property
    def most(self) -> int:
        """The cost of one batch for each replica."""
        return sum(replica.forwarder.sizer.size for replica in self._alive() or self._replicas)

    @property
    def busy(self) -> bool:
        """Whether each replica has something to do of this call."""
        with self._changed:
            alive = self._alive()
            return bool(alive) and all(self._own[replica] for replica in alive)

    @property
    def under_way(self) -> bool:
        """Whether a replica has something to do of this call."""
        with self._changed:
            return self._own.total() > 0

    @property
    def landed(self) -> bool:
        """Whether there is something to be told of by `land`."""
        return self._landed or self._failure is not None

    def launch(self, entries: list[Entry]) -> None:
        """Hands a batch to a replica; waits while each has enough.

        Raises:
            DeviceError: none is left.
        """
        if not entries:
            return
        began = time.perf_counter()
        with self._changed:
            self._check()
            while not self._sent(entries, self._with_room()):
                if self.under_way:
                    self._changed.wait()
                self._check()
        self._statistics.add("forward", waited=time.perf_counter() - began)

    def land(self, *, finished: bool = False) -> bool:
        """Whether a batch is over since this was asked last; never waits.

        Raises:
            DeviceError: none of the replicas is left.
        """
        with self._changed:
            if self._failure is not None:
                self._check()
            landed, self._landed = self._landed, False
        if landed:
            self._tell_losses()
        return landed

    def close(self) -> None:
        """Leaves what has not begun; what has comes to its end, unseen."""
        self.closed = True

    def landed_on(self, replica: Replica) -> None:
        """Takes note of a batch that is over; on the replica's thread."""
        with self._changed:
            self._own[replica] -= 1
            self._landed = True
            self._changed.notify_all()

    def taken_back(self, load: Load, error: DeviceError) -> None:
        """Gives what is left of a batch to another replica; on the thread of the one that is lost."""
        with self._changed:
            self._flights.pop(load.replica, None)
            left = [] if self.closed else load.left
            if left and not self._sent(left, self._alive()):
                self._failure = error
            self.landed_on(load.replica)

    def fail(self, error: BaseException) -> None:
        """Ends the call with an error that is no input's."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def _refuse(self, replica: Replica, entry: Entry, failure: Exception, error: InputError) -> None:
        """Has another replica try a unit, unless the task itself has refused it, or all have tried."""
        entry.tried = (*entry.tried, replica)
        with self._changed:
            others = [each for each in self._alive() if each not in entry.tried]
            if isinstance(failure, InputError) or not self._sent([entry], others):
                fail(entry, failure, error)
            else:
                replica.leave_out(entry)

    def _sent(self, entries: list[Entry], replicas: Iterable[Replica]) -> bool:
        """Hands a batch to the one of these that has least to do; False if there is none."""
        left = list(replicas)
        while left:
            replica = _least_busy(left)
            load = Load(entries, self._flights_on(replica), self, replica)
            if replica.take(load):
                self._own[replica] += 1
                return True
            left.remove(replica)
        return False

    def _flights_on(self, replica: Replica) -> Flights:
        if replica not in self._flights:
            refuse = partial(self._refuse, replica)
            self._flights[replica] = Flights(replica.forwarder, self._share, refuse)
        return self._flights[replica]

    def _alive(self) -> list[Replica]:
        return [replica for replica in self._replicas if replica.lost is None]

    def _with_room(self) -> list[Replica]:
        return [replica for replica in self._alive() if self._own[replica] < AHEAD + replica.depth]

    def _check(self) -> None:
        """Raises what has ended the call, or why nothing can run any more."""
        failure, self._failure = self._failure, None
        if failure is None and not self._alive():
            failure = self._replicas[-1].lost
        if isinstance(failure, DeviceError):  # a new one: several calls may end by it, on threads of their own
            raise DeviceError(*failure.args) from failure.__cause__
        if failure is not None:
            raise failure

    def _tell_losses(self) -> None:
        for replica in self._replicas:
            error = replica.tells_loss()
            if error is not None and self._alive():
                warnings.warn(
                    f"{error}. {len(self._alive())} of {len(self._replicas)} devices go on, and run its batches",
                    RuntimeWarning,
                    stacklevel=2,
                )


def _least_busy(replicas: Iterable[Replica]) -> Replica:
    return min(replicas, key=lambda replica: replica.queued)
