"""Whether what a model gave is finite: NaN is no result, and hides behind thresholds that it never passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from sensorium.errors import InputError


class Finiteness:
    """Asks of a batch's outputs which rows hold NaN or infinity, without making the host wait for the device.

    Minus infinity is how models say "never": it counts only where there is nothing else.

    Args:
        outputs: of one forward pass, in any nesting.
        rows: how many units the batch has.
        device: where the pass ran; what lies elsewhere is looked at, too.
    """

    def __init__(self, outputs: Any, rows: int, device: torch.device) -> None:
        leaves = [
            x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor) and x.is_floating_point() and x.numel()
        ]
        self._by_row = all(x.ndim > 0 and x.shape[0] == rows for x in leaves)
        self._flags = [_largest(x, by_row=self._by_row) for x in leaves]
        if device.type == "cuda":
            self._flags = [_sent(flag) for flag in self._flags]

    def failed(self) -> Tensor | None:
        """Once the pass is over: `(rows,)` bool where it can be told by row, else `()`; None if all are finite."""
        failed = [~flag.isfinite() for flag in self._flags]
        if not any(bool(each.any()) for each in failed):
            return None
        return torch.stack(failed).any(0)


def not_finite() -> InputError:
    """What an input gets instead of such a result."""
    return InputError(
        "the model gave numbers that are not finite (NaN or infinity). float16 overflows in some models: use "
        'dtype="float32", or "bfloat16". Where every input fails, the weights are broken, or the numbers of the '
        "processor's recipe (mean, std)",
        code="not-finite",
    )


def _largest(values: Tensor, *, by_row: bool) -> Tensor:
    """NaN, where there is one, is larger than everything to `amax`."""
    return values.detach().flatten(1).amax(1) if by_row and values.ndim > 1 else values if by_row else values.amax()


def _sent(flag: Tensor) -> Tensor:
    """On its way to pinned memory, where the host reads it once the pass is over."""
    if flag.device.type != "cuda":
        return flag
    return torch.empty(flag.shape, dtype=flag.dtype, pin_memory=True).copy_(flag, non_blocking=True)
