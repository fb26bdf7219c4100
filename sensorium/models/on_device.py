"""Small values between the host and a device, so that neither waits for the other where it need not."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


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
