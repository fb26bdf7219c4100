"""A shard that is to be done, and how the input in it that ends workers is found.

When a worker ends in the middle of a shard, it has shown on its gauge which inputs it had taken and not yet given: one
of these may be to blame. They are run again one by one, and their outcomes thrown away; the one at which a worker ends
for the second time is put into quarantine. Then the shard is run as a whole, without it. Where that ends a worker once
more, although each input alone did not, the whole shard is run one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sensorium.jobs.gauge import Gauge, GaugeReading


@dataclass
class Shard:
    """A shard that is to be done.

    Attributes:
        number: which.
        generation: of the part that is to be made.
        codes: the errors that are tried again, of an older part; None for none, or to do all.
        changed: places of inputs that have changed since the older part was made.
        quarantined: inputs that ended a worker twice, by their places, with the error of each.
        suspects: places of inputs of which one may have ended a worker; they are run alone.
        crashes: how often a worker ended while it ran as a whole.
        accused: inputs that have ended a worker alone, once.
        losses: how often it was lost with the machine that it was done on.
    """

    number: int
    generation: int = 0
    codes: list[str] | None = None
    changed: list[int] = field(default_factory=list)
    quarantined: dict[int, dict[str, str]] = field(default_factory=dict)
    suspects: list[int] = field(default_factory=list)
    crashes: int = 0
    accused: set[int] = field(default_factory=set)
    losses: int = 0

    def order(self) -> dict[str, Any]:
        """What a worker is told."""
        return {
            "shard": self.number,
            "generation": self.generation,
            "codes": self.codes,
            "changed": self.changed,
            "quarantined": self.quarantined,
            "alone": self.suspects or None,
            "one_by_one": self.crashes > 1 and not self.suspects,
        }

    def blame(self, gauge: Gauge | GaugeReading, *, code: str, how: str) -> None:
        """Takes note that a worker ended in the middle of it.

        Args:
            gauge: the worker's.
            code: of the error that the input to blame has, if it was run alone.
            how: what its message says.
        """
        taken, given = gauge.taken, gauge.given
        if self.suspects or self.crashes > 1:
            if taken > given:  # the input that was begun, and run alone
                self._accuse(taken - 1, code, how, before=bool(self.suspects))
            self.suspects = [place for place in self.suspects if place >= taken]
            return
        self.crashes += 1
        if self.crashes == 1:
            self.suspects = [place for place in range(given, taken) if place not in self.quarantined]

    def _accuse(self, place: int, code: str, how: str, *, before: bool) -> None:
        """Puts an input into quarantine if a worker has ended with it before."""
        if before or place in self.accused:
            self.quarantined[place] = {"error_code": code, "error_message": how}
        self.accused.add(place)
