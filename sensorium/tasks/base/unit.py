"""What passes between a task and the engine that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Batch = dict[str, Tensor]
Fit = Literal["native", "possible"] | None


@dataclass(slots=True)
class Unit:
    """One model-sized piece of an input.

    Attributes:
        inputs: tensors without a batch axis, on the CPU.
        meta: what `decode` needs to know of this piece (a size, an offset); never moved to the device.
    """

    inputs: Batch
    meta: Any = None


class Call(Protocol):
    """Runs a pure tensor function eagerly or compiled, as the pipeline's policy has it."""

    def __call__(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Returns `function(*args)`."""
        ...


class Empty(Protocol):
    """Makes an uninitialised CPU tensor."""

    def __call__(self, size: Sequence[int], /, *, dtype: torch.dtype) -> Tensor:
        """Returns a tensor of this size and dtype."""
        ...
