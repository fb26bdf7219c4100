"""Batches on their way to the device: collated straight into pinned memory, copied on a stream of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from sensorium.tasks.base import Batch, Task, Unit

RING = 3
"""Pinned buffers in turn: one is written, one is being copied, one waits for its copy to be over."""


class Uploader:
    """Collates units and brings the batch to a device; on CUDA without making the CPU wait."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._slots = [_PinnedSlot() for _ in range(RING)] if device.type == "cuda" else []
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._turn = 0

    def __call__(self, task: Task, units: Sequence[Unit]) -> Batch:
        """The batch of these units, on the device; later work on the current stream waits for the copy."""
        if self._stream is None:
            batch = task.collate(units)
            return {name: tensor if name in task.on_host else tensor.to(self._device) for name, tensor in batch.items()}
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % RING
        slot.reclaim()
        batch = task.collate(units, slot.empty)
        compute = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            moved = {
                name: tensor.to(self._device, non_blocking=True)
                for name, tensor in batch.items()
                if name not in task.on_host
            }
            slot.copied.record(self._stream)
        compute.wait_event(slot.copied)
        for tensor in moved.values():
            tensor.record_stream(compute)
        return {**batch, **moved}


class _PinnedSlot:
    """One buffer of page-locked memory that grows to the largest batch it has held."""

    def __init__(self) -> None:
        self.copied = torch.cuda.Event()
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._used = self._wanted = 0

    def reclaim(self) -> None:
        """Waits until the last batch has left, and makes room for one as large again."""
        self.copied.synchronize()
        if self._wanted > self._buffer.nbytes:
            self._buffer = torch.empty(self._wanted, dtype=torch.uint8, pin_memory=True)
        self._used = self._wanted = 0

    def empty(self, size: Sequence[int], /, *, dtype: torch.dtype) -> Any:
        """A tensor carved out of the buffer, or pinned by itself where the buffer is full."""
        nbytes = math.prod(size) * dtype.itemsize
        start = -(-self._used // 256) * 256
        self._used = self._wanted = start + nbytes
        if self._used > self._buffer.nbytes:
            return torch.empty(tuple(size), dtype=dtype, pin_memory=True)
        return self._buffer[start : start + nbytes].view(dtype).view(tuple(size))
