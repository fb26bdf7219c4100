"""What a run keeps of an input, and of each of its units, while they are under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sensorium.errors import InputError
from sensorium.tasks.base import Unit


@dataclass(slots=True)
class Item:
    """One input on its way through a run."""

    index: int
    parts: dict[int, Any] = field(default_factory=dict)
    opened: int = 0
    exhausted: bool = False
    error: InputError | None = None

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
