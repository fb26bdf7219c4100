"""How long shards and their slowest inputs took: a line for each shard that a run has done.

It is kept for the report alone. No other file depends on it, and a job goes on without it.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sensorium.jobs.stores import LocalStore, Store

NAME = "timings.jsonl"

SLOWEST = 10
"""Inputs of a shard whose times are kept."""

BINS = 60
"""Stretches of time whose rates are told."""


@dataclass(frozen=True)
class ShardTiming:
    """What it took to do a shard once.

    Attributes:
        shard: which.
        generation: of the part that was made.
        ended: when, in seconds of the clock of whoever runs the job.
        seconds: for how long a worker was at it.
        ran: how many inputs it has run.
        slowest: of these, the `input_id` and the seconds of those that cost most; see `Result.seconds`.
    """

    shard: int
    generation: int
    ended: float
    seconds: float
    ran: int
    slowest: Sequence[tuple[int, float]]

    @property
    def began(self) -> float:
        """When it was begun, by the same clock."""
        return self.ended - self.seconds


class Timings:
    """Keeps what workers tell of shards that are done. Where that cannot be written the report lacks it.

    Args:
        store: the folder of the job; where it is not on this machine, they are written when the run ends.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._lines = store, list[str]()

    def note(self, told: Mapping[str, Any], generation: int) -> None:
        """Takes note of a shard."""
        names = ("shard", "seconds", "ran", "slowest")
        line = {"generation": generation, "ended": round(time.time(), 3), **{name: told[name] for name in names}}
        self._lines.append(json.dumps(line) + "\n")
        if isinstance(self._store, LocalStore):
            with suppress(OSError), (self._store.path / NAME).open("a", encoding="utf-8") as file:
                file.writelines(self._lines)
            self._lines.clear()

    def keep(self) -> None:
        """Writes what is not written yet."""
        if self._lines:
            with suppress(OSError):
                before = self._store.read(NAME) if NAME in self._store.names() else b""
                self._store.write(NAME, before + "".join(self._lines).encode())
            self._lines.clear()


def read_timings(store: Store) -> Iterator[ShardTiming]:
    """What has been kept, in the order of the work, without lines that are cut short or hold something else."""
    with suppress(FileNotFoundError), contextlib.closing(store.open(NAME)) as file:
        for line in file:
            with suppress(ValueError, TypeError, KeyError):
                told = json.loads(line)
                slowest = [(int(number), float(seconds)) for number, seconds in told["slowest"]]
                shard, generation, ran = int(told["shard"]), int(told["generation"]), int(told["ran"])
                ended, seconds = float(told["ended"]), float(told["seconds"])
                yield ShardTiming(shard, generation, ended, seconds, ran, slowest)


@dataclass(frozen=True)
class Rates:
    """How fast a job went, while it was worked on: pauses, and the loading of models, are left out.

    Attributes:
        seconds: of work, from the first shard to the last.
        a_second: inputs a second in stretches of equal length, one after the other.
    """

    seconds: float
    a_second: list[float]


class TimingSummary:
    """What a report tells of a job's timings, of which as little is kept as that takes.

    Attributes:
        shards: how many shards there are timings of.
        ran: inputs that were run, each as often as it was.
        slowest: `input_id` and seconds of those that cost most, the dearest first.
    """

    def __init__(self, timings: Iterator[ShardTiming], *, slowest: int) -> None:
        self._spans = array("d")  # begun, ended and run of each shard: 24 bytes
        seen, best = set[int](), dict[int, float]()
        self.ran = 0
        for timing in timings:
            self._spans.extend((timing.began, timing.ended, timing.ran))
            self.ran += timing.ran
            seen.add(timing.shard)
            for number, seconds in timing.slowest:
                best[number] = max(seconds, best.get(number, 0.0))
            if len(best) > 100 * slowest:
                best = dict(_dearest(best, slowest))
        self.shards = len(seen)
        self.slowest = _dearest(best, slowest)

    def rates(self, bins: int = BINS) -> Rates | None:
        """How fast it went; None if there are no timings.

        Args:
            bins: into how many stretches the time is cut at most: no more than there were shards.
        """
        import numpy as np

        spans = np.array(self._spans).reshape(-1, 3)
        spans = spans[(spans[:, 1] > spans[:, 0]) & (spans[:, 2] > 0)]
        if not len(spans):
            return None
        spans = spans[np.argsort(spans[:, 0], kind="stable")]
        began, ended, ran = spans.T
        reached = np.maximum.accumulate(ended)
        before = np.concatenate([began[:1], reached[:-1]])
        pauses = np.cumsum(np.maximum(0.0, began - before))  # up to the beginning of each
        start = began - began[0] - pauses
        length = ended - began  # in which nothing pauses
        total = float((reached - began[0] - pauses)[-1])
        count = min(bins, len(spans))
        edges = np.linspace(0.0, total, count + 1)
        done = np.array([float((ran * np.clip((edge - start) / length, 0.0, 1.0)).sum()) for edge in edges])
        return Rates(total, [float(each) for each in np.diff(done) * count / total])


def _dearest(costs: Mapping[int, float], most: int) -> list[tuple[int, float]]:
    return heapq.nlargest(most, costs.items(), key=lambda entry: entry[1])
