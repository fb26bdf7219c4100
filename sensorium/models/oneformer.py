"""OneFormer's masked attention on a device, without asking in each layer which queries see nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def opened_masks(device: torch.device) -> AbstractContextManager[Any]:
    """Within it the masks of queries that would see nothing are opened where they lie.

    Transformers looks for their numbers in each layer, `mask[torch.where(empty)] = False`, and the host waits for the
    device. On the CPU, and while compiling, nothing changes.

    Args:
        device: where the model runs.
    """
    return nullcontext() if device.type == "cpu" or torch.compiler.is_compiling() else _OpenedMasks()


class _OpenedMasks(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.where and len(args) == 1:
            return (args[0],)
        if func is torch.Tensor.__setitem__ and _is_condition(args[1]) and isinstance(args[2], bool):
            mask, (condition,), value = args
            mask.masked_fill_(condition.view(*condition.shape, *[1] * (mask.ndim - condition.ndim)), value)
            return None
        return func(*args, **dict(kwargs or {}))


def _is_condition(index: Any) -> bool:
    return (
        isinstance(index, tuple) and len(index) == 1 and isinstance(index[0], Tensor) and index[0].dtype == torch.bool
    )
