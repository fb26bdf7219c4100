"""A CPU tensor that says that it lies on a CUDA device, so that what is meant for one can be run without."""

from __future__ import annotations

import torch


class SaysCuda(torch.Tensor):
    """What is computed from it says so, too; what it brings to the CPU is an ordinary tensor, and is counted."""

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
