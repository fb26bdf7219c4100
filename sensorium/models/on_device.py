"""Small values between the host and a device, so that neither waits for the other where it need not."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def sent(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A copy of a few values on a device. Later work there comes after it; on CUDA the host does not wait for it.

    `torch.tensor(values, device=…)`, and indexing with or assigning what lies on the CPU, make the host wait until the
    device has done all that it was given before. This does not: of a few KB CUDA takes a copy of its own at once.

    Args:
        values: a CPU tensor, or numbers as `torch.tensor` takes them.
        device: where to.
        dtype: of the copy of numbers; None for what `torch.tensor` makes of them.
    """
    tensor = values if isinstance(values, Tensor) else torch.tensor(values, dtype=dtype)
    return tensor.to(device, non_blocking=device.type == "cuda")


@functools.lru_cache(maxsize=64)
def kept(values: tuple[int, ...], device: torch.device) -> Tensor:
    """`(N,)` int64, these numbers on a device; copied there once, and not to be written to."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.int64, device=device)


def brought(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors on the CPU, in one copy: the host waits once, whatever their number, shapes and dtypes.

    Args:
        tensors: all on one device; rather small ones, as each is copied twice to have memory of its own.
    """
    if not tensors or tensors[0].device.type == "cpu":
        return list(tensors)
    if len(tensors) == 1:
        return [tensors[0].cpu()]
    order = sorted(range(len(tensors)), key=lambda i: -tensors[i].itemsize)  # so that each is aligned for its dtype
    lines = [tensors[i].contiguous().view(-1).view(torch.uint8) for i in order]
    found: dict[int, Tensor] = {}
    for i, line in zip(order, torch.cat(lines).cpu().split([len(line) for line in lines]), strict=True):
        found[i] = line.view(tensors[i].dtype).view(tensors[i].shape).clone()
    return [found[i] for i in range(len(tensors))]


def numbers_sent(device: torch.device) -> AbstractContextManager[Any]:
    """Within it a model's own code sends Python's numbers to its device, and does not ask whether they arrived.

    It is for Transformers' deformable attention, which writes the sizes of its maps number by number, and compares them
    with each other in each layer: the host waits for each. On the CPU, and while compiling, nothing changes.

    Args:
        device: where the model runs.
    """
    return nullcontext() if device.type == "cpu" or torch.compiler.is_compiling() else _NumbersSent()


_MAKERS = (torch.tensor, torch.as_tensor)


class _NumbersSent(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func in _MAKERS and not isinstance(args[0], Tensor):
            device = torch.device(named.pop("device", None) or "cpu")
            return sent(func(*args, **named, device="cpu"), device)
        if func is torch.Tensor.__setitem__ and isinstance(args[2], (int, float)) and _names_one(args[1]):
            args[0][args[1]].fill_(args[2])
            return None
        if func is torch.Tensor._is_all_true:  # what torch's own checks ask
            return torch.ones((), dtype=torch.bool)
        return func(*args, **named)


def _names_one(index: Any) -> bool:
    """Whether an index is of whole numbers alone."""
    return all(type(each) is int for each in (index if isinstance(index, tuple) else (index,)))
