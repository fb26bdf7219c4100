"""What a pipeline has done, and where its time went."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

STAGES = ("source", "split", "forward", "decode", "merge")


class Statistics:
    """Counts items and seconds by stage; safe to write from several threads.

    `seconds` is the work done in a stage, on all threads. `waited` is the time for which the run's own thread stood
    in a stage: its share says which stage was the bottleneck.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forgets all that was counted."""
        with self._lock:
            self._items: dict[str, int] = defaultdict(int)
            self._seconds: dict[str, float] = defaultdict(float)
            self._waited: dict[str, float] = defaultdict(float)
            self._counts: dict[str, int] = defaultdict(int)

    def add(self, stage: str, *, items: int = 0, seconds: float = 0.0, waited: float = 0.0) -> None:
        """Adds work done in a stage."""
        with self._lock:
            self._items[stage] += items
            self._seconds[stage] += seconds
            self._waited[stage] += waited

    def count(self, name: str, by: int = 1) -> None:
        """Counts an event: one of the names in `snapshot`."""
        with self._lock:
            self._counts[name] += by

    def with_work_of(self, others: Iterable[Statistics]) -> Statistics:
        """These and the work of others, such as devices; how long the run's own thread waited is told here alone."""
        joined = Statistics()
        for each in (self, *others):
            with each._lock:
                for stage in STAGES:
                    waited = each._waited[stage] if each is self else 0.0
                    joined.add(stage, items=each._items[stage], seconds=each._seconds[stage], waited=waited)
                for name, count in each._counts.items():
                    joined.count(name, count)
        return joined

    def of_device(self) -> dict[str, Any]:
        """Batches, units and seconds of the forward pass, and how often memory ran out."""
        with self._lock:
            return {
                "batches": self._counts["batches"],
                "units": self._items["forward"],
                "seconds": round(self._seconds["forward"], 6),
                "out_of_memory": self._counts["out_of_memory"],
            }

    def snapshot(self) -> dict[str, Any]:
        """All counts, as plain dicts and numbers."""
        with self._lock:
            total = sum(self._waited.values()) or 1.0
            stages = {
                stage: {
                    "items": self._items[stage],
                    "seconds": round(self._seconds[stage], 6),
                    "bottleneck": round(self._waited[stage] / total, 4),
                }
                for stage in STAGES
            }
            names = (
                "inputs",
                "failures",
                "deduplicated",
                "batches",
                "refused",
                "cancelled",
                "padded_rows",
                "eager_batches",
                "out_of_memory",
                "decoded_on_device",
                "refused_by_device",
                "compiles",
                "recompiles",
            )
            mean = self._items["forward"] / self._counts["batches"] if self._counts["batches"] else 0.0
            return {"stages": stages, **{name: self._counts[name] for name in names}, "mean_batch": round(mean, 2)}
