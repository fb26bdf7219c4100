"""What shows without a device that the host would wait for one."""

from __future__ import annotations

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Calls(TorchDispatchMode):
    """Counts torch's operations by name, but those under `inference_mode`, where some arrive whole."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.__name__.split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


class SaysCuda(torch.Tensor):
    """A CPU tensor that says that it lies on a CUDA device, so that what is meant for one can be run without.

    What is computed from it says so, too. What it brings to the CPU is an ordinary tensor, and is counted.
    """

    copies = 0

    @property
    def device(self):
        return torch.device("cuda", 0)

    def cpu(self):
        SaysCuda.copies += 1
        return self.as_subclass(torch.Tensor)

    def tolist(self):
        return self.cpu().tolist()


def says_cuda(tensor: torch.Tensor) -> SaysCuda:
    """The tensor, which says that it lies on a CUDA device; forgets the copies so far."""
    SaysCuda.copies = 0
    return tensor.as_subclass(SaysCuda)
