"""How a job stands, and what its last run has done."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.jobs.relisting import Relisted


STATES = ("ok", "failed", "quarantined")
"""What a row may say of its input."""


@dataclass
class JobReport:
    """How a job stands.

    Attributes:
        inputs: how many there are.
        ok: rows with a result.
        failed: rows of inputs that could not be processed.
        quarantined: rows of inputs that ended a worker, or kept it for too long, twice.
        codes: how many failed or were quarantined, by the code of the error.
        shards: how many shards there are.
        shards_done: how many have a part.
        ran: inputs that this run has done.
        seconds: what it took; 0 where nothing was run.
        workers_started: processes that it has started.
        refreshed: what listing the inputs again has found; None where that was not asked for.
    """

    inputs: int = 0
    ok: int = 0
    failed: int = 0
    quarantined: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    shards: int = 0
    shards_done: int = 0
    ran: int = 0
    seconds: float = 0.0
    workers_started: int = 0
    refreshed: Relisted | None = None

    @property
    def done(self) -> int:
        """How many inputs have a row."""
        return self.ok + self.failed + self.quarantined

    @property
    def complete(self) -> bool:
        """Whether every input has a row."""
        return self.shards_done == self.shards

    def add(self, counts: Counter[str]) -> None:
        """Takes the counts of a part."""
        self.ok += counts["ok"]
        self.failed += counts["failed"]
        self.quarantined += counts["quarantined"]
        self.codes.update({key[5:]: value for key, value in counts.items() if key.startswith("code:")})
        self.shards_done += 1

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain JSON."""
        names = ("inputs", "ok", "failed", "quarantined", "shards", "shards_done", "ran", "workers_started")
        return {
            **{name: getattr(self, name) for name in names},
            "codes": dict(self.codes.most_common()),
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
            **({} if self.refreshed is None else {"refreshed": dataclasses.asdict(self.refreshed)}),
        }

    def is_told_by(self, counts: Mapping[str, Any]) -> bool:
        """Whether `to_dict` of an earlier run says of the rows what this one would."""
        now = self.to_dict()
        return all(counts.get(name) == now[name] for name in ("inputs", "shards_done", "codes", *STATES))

    def __str__(self) -> str:
        told = [f"{self.ok} of {self.inputs} inputs have a result"]
        told += [f"{self.failed} failed"] if self.failed else []
        told += [f"{self.quarantined} are quarantined"] if self.quarantined else []
        if self.codes:
            told.append(told_codes(self.codes))
        if not self.complete:
            told.append(f"{self.inputs - self.done} are still to be done")
        return "; ".join(told)


def told_codes(codes: Counter[str], most: int | None = None) -> str:
    """Codes of errors with how often each came, the commonest first: `missing-file 3, truncated 1`."""
    return ", ".join(f"{code} {count}" for code, count in codes.most_common(most))
