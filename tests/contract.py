"""What every task has to show for the contract test: a `CONTRACT` in its own test module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contract:
    """How the contract test gets hold of a task.

    Attributes:
        build: builds a small float32 CPU pipeline; takes the settings of `pipeline()`.
        inputs: makes at least four good raw inputs, of several sizes.
        bad: raw inputs that must each be an `InputError`.
        options: sets of options to try; the empty one is always tried.
        close: compares two `to_dict()`, instead of number by number; for results that rounding may move by a pixel.
        tolerance: how far a result may move with its neighbours in the batch: float32 rounding.
    """

    build: Callable[..., Any]
    inputs: Callable[[], Sequence[Any]]
    bad: Sequence[Any]
    options: Sequence[dict[str, Any]] = field(default_factory=tuple)
    tolerance: float = 1e-5
    close: Callable[[Any, Any, float], None] | None = None
