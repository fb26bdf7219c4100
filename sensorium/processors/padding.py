"""Sequences of different lengths in one batch: how far they are padded, and with what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Padding:
    """How an input's last axis is padded to that of its neighbours in a batch.

    Attributes:
        value: what with.
        max_length: the longest that the model takes; None for no limit. A sequence beyond it keeps its own length.
        side: which side the filling goes to.
    """

    value: float
    max_length: int | None = None
    side: Literal["left", "right"] = "right"

    def length(self, length: int) -> int:
        """The length that a sequence of `length` is padded to; longer by an eighth at most."""
        rounded = round_up(length)
        return rounded if self.max_length is None else max(length, min(rounded, self.max_length))

    def stack(self, tensors: Sequence[Tensor], empty: Callable[..., Any] = torch.empty) -> Tensor:
        """Stacks tensors that differ in their last axis, padded to the length that the longest calls for.

        Args:
            tensors: of one dtype, and of one shape but for the last axis.
            empty: makes a tensor of a size and `dtype=` to write into.
        """
        length = self.length(max(tensor.shape[-1] for tensor in tensors))
        batch: Tensor = empty((len(tensors), *tensors[0].shape[:-1], length), dtype=tensors[0].dtype)
        for row, tensor in zip(batch, tensors, strict=True):
            gap = length - tensor.shape[-1]
            start = gap if self.side == "left" else 0
            row[..., start : start + tensor.shape[-1]].copy_(tensor)
            filling = row[..., :gap] if self.side == "left" else row[..., tensor.shape[-1] :]
            filling.fill_(self.value)
        return batch


def round_up(length: int) -> int:
    """The next whole eighth of a power of two: 8, 9 … 16, 18, 20 … 32, 36 …; few lengths, little padding."""
    if length <= 16:
        return max(8, length)
    step = 1 << (length - 1).bit_length() - 4
    return -(-length // step) * step
