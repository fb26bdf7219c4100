"""What an engine keeps of an input, and of each of its units, while they are under way."""

from __future__ import annotations

import math
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sensorium.errors import InputError
from sensorium.pipelines.duplicates import Original
from sensorium.pipelines.splitting import Chunk
from sensorium.tasks.base import Unit


@dataclass(slots=True, eq=False)
class Item:
    """One input on its way through an engine.

    Attributes:
        index: its position among the inputs of its call.
        options: those of its call.
        group: what its units have in common with those that may share their batches, besides their bucket.
        delay_s: how long a unit of it waits at most for others to share its batch.
        split: what is being split of it, or was and has not been received.
        parts: what came of its units, by their positions.
        opened: how many units have been received.
        exhausted: whether these are all.
        error: why there will be no result.
        source: the path or URL that it is, if it is one.
        time_s: when it is shown in its film, if it is a frame of one.
        original: what tells it from other inputs of a run without duplicates.
        twin: the input itself, where it is the same as its original's and waits for what comes of that.
        seconds: what it has cost so far: splitting it, and its share of batches.
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
    source: str | None = None
    time_s: float | None = None
    original: Original | None = None
    twin: Any = None
    seconds: float = 0.0

    @property
    def wanted(self) -> bool:
        """Whether its units are still worth a forward pass."""
        return self.error is None

    @property
    def done(self) -> bool:
        """Whether nothing more is awaited for this input."""
        if self.twin is not None:
            return self.original is not None and self.original.parts is not None
        return self.error is not None or (self.exhausted and len(self.parts) == self.opened)


@dataclass(slots=True)
class Entry:
    """A unit that waits for its batch.

    Attributes:
        item: the input that it is of.
        position: among the units of that.
        unit: itself.
        nbytes: of its tensors.
        cost: what it adds to the batch's size.
        tried: the replicas on which it has failed alone.
    """

    item: Item
    position: int
    unit: Unit
    nbytes: int
    cost: float = 1.0
    tried: tuple[object, ...] = ()


class Alike:
    """A key for options: equal where these are, whether or not they can be hashed."""

    __slots__ = ("_hash", "_options")

    def __init__(self, options: Any) -> None:
        self._options = options
        try:
            self._hash = hash(options)
        except TypeError:  # they hold a list, say: compared one by one
            self._hash = hash(type(options))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Alike):
            return NotImplemented
        if self._options is other._options:
            return True
        try:
            return bool(self._options == other._options)
        except Exception:  # noqa: BLE001 - such as of arrays, which do not say whether they are equal
            return False
