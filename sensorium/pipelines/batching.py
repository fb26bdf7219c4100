"""How many units go into a batch, and which."""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Hashable
from itertools import accumulate
from statistics import median
from typing import Generic, Literal, TypeVar

import torch

T = TypeVar("T")


class BatchSizer:
    """Finds the batch size: a fixed one, or the fastest that fits.

    "auto" starts small, and doubles for as long as a unit gets cheaper by 3 % or more; where every size would have to
    be compiled, or batches must not depend on timing, it is one middling size instead. Out of memory halves the size
    for good. Safe to use from several threads.

    Attributes:
        weighs: whether units count by what they cost, and not by their number.
    """

    def __init__(self, setting: int | Literal["auto"], device: torch.device, *, grows: bool = True) -> None:
        self._lock = threading.Lock()
        self.weighs = setting == "auto"
        self._growing = setting == "auto" and grows
        start, middling, self._most = (16, 64, 256) if device.type == "cuda" else (4, 8, 32)
        self._middling = middling
        self._size = (start if grows else middling) if setting == "auto" else int(setting)
        self._costs: dict[int, list[float]] = defaultdict(list)  # seconds for a measure of work, by batch size
        self._best: tuple[float, int] = (float("inf"), self._size)

    @property
    def size(self) -> int:
        """How many units, of the usual cost, to put into the next batch at most."""
        return self._size

    @property
    def settled(self) -> bool:
        """Whether the size will only change when memory runs out."""
        return not self._growing

    def settle(self) -> None:
        """Stops looking for the fastest size, which depends on timing: from here on it is the middling one."""
        with self._lock:
            if self._growing:
                self._growing, self._size = False, self._middling

    def record(self, rows: int, seconds: float, work: float | None = None) -> None:
        """Notes what a batch cost; decides whether to grow.

        Args:
            rows: how many units, of the usual cost, it was to have.
            seconds: what it took.
            work: how much there was to do, in any one measure, where units differ (their bytes); `rows` unless given.
        """
        with self._lock:
            if not self._growing or rows != self._size:
                return
            self._costs[rows].append(seconds / (work or rows))
            if len(self._costs[rows]) < 3:  # the first batch of a size also pays for its buffers and kernels
                return
            cost = median(self._costs[rows][1:])
            grow = cost < self._best[0] * 0.97 and rows * 2 <= self._most
            if cost < self._best[0] * 0.97:
                self._best = (cost, rows)
            self._growing = grow
            self._size = rows * 2 if grow else self._best[1]

    def shrink(self, cost: float) -> int:
        """Notes that a batch that cost so much, in units of the usual cost, did not fit in memory.

        Returns:
            The new size: half of it, at least 1.
        """
        with self._lock:
            self._size = self._most = max(1, min(self._size, int(cost / 2)))
            self._best = (0.0, self._size)
            self._growing = False
            return self._size


class Buckets(Generic[T]):
    """Entries that wait for a batch, grouped so that each group can share one; oldest group first."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, list[tuple[T, float, float]]] = OrderedDict()
        self._costs: dict[Hashable, float] = {}
        self._dues: dict[Hashable, float] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def due(self) -> float:
        """When the first of the entries has waited long enough; infinity if none ever has."""
        return min(self._dues.values(), default=math.inf)

    def add(self, key: Hashable, entry: T, cost: float = 1.0, due: float = math.inf) -> None:
        """Puts an entry into the group of its key.

        Args:
            key: of its group.
            entry: what waits.
            cost: what it adds to a batch.
            due: when it has waited long enough, by any one clock.
        """
        self._groups.setdefault(key, []).append((entry, cost, due))
        self._costs[key] = self._costs.get(key, 0.0) + cost
        self._dues[key] = min(self._dues.get(key, math.inf), due)
        self._count += 1

    def take_full(self, size: int) -> list[T] | None:
        """Takes entries that cost `size` together from a group that has as many, or None."""
        for key, cost in self._costs.items():
            if cost >= size:
                return self._take(key, size)
        return None

    def take_oldest(self, size: int) -> list[T]:
        """Takes entries that cost up to `size` together, at least one, from the group that has waited longest."""
        return self._take(next(iter(self._groups)), size)

    def take_due(self, size: int, now: float) -> list[T] | None:
        """Takes entries that cost up to `size` together, at least one, from the group that is due first, or None."""
        key = min(self._dues, key=self._dues.__getitem__, default=None)
        return None if key is None or self._dues[key] > now else self._take(key, size)

    def _take(self, key: Hashable, size: int) -> list[T]:
        group, cost = self._groups.pop(key), self._costs.pop(key)
        del self._dues[key]
        sums = list(accumulate(each for _, each, _ in group))
        count = max(1, bisect_right(sums, size))
        if count < len(group):
            self._groups[key] = group[count:]
            self._costs[key] = cost - sums[count - 1]
            self._dues[key] = min(due for _, _, due in group[count:])
        self._count -= count
        return [entry for entry, _, _ in group[:count]]


def padded_rows(rows: int, size: int) -> int:
    """The batch size that a compiled graph is run with for `rows` units: a power of two, at most `size`."""
    return min(max(size, rows), 1 << (rows - 1).bit_length())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device ran out of memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    signs = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
