"""What an engine keeps of an input, and of each of its units, while they are under way."""

from __future__ import annotations

import math
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sensorium.errors import InputError
from sensorium.pipelines.splitting import Chunk
from sensorium.tasks.base import Unit


@dataclass(slots=True, eq=False)
class Item:
    """One input on its way through an engine.

    Attributes:
        index: its position among the inputs of its call.
        options: those of its call.
        group: what its units have in common with those that may share their batches, besides their bucket.
        delay_s: how long a unit of it waits at the most for others to share its batch.
        split: what is being split of it, or was and has not been received.
        parts: what came of its units, by their positions.
        opened: how many units have been received.
        exhausted: whether these are all.
        error: why there will be no result.
    """

    index: int
    options: Any
    group: Hashable = None
    delay_s: float = math.inf
    split: Future[Chunk] | Chunk | None = None
    parts: dict[int, Any] = field(default_factory=dict)
    opened: int = 0
    exhausted: bool = False
    error: InputError | None = None

    @property
    def wanted(self) -> bool:
        """Whether its units are still worth a forward pass."""
        return self.error is None

    @property
    def done(self) -> bool:
        """Whether nothing more is awaited for this input."""
        return self.error is not None or (self.exhausted and len(self.parts) == self.opened)


@dataclass(slots=True)
class Entry:
    """A unit that waits for its batch; `cost` is what it adds to the batch's size."""

    item: Item
    position: int
    unit: Unit
    nbytes: int
    cost: float = 1.0
