"""CUDA graphs for small static batches, where launching kernels costs more than running them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

MOST_BYTES = 32 * 2**20
"""Batches of more input bytes than this are launched as usual: their kernels take longer than their launches."""

_FAILED: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture CUDA refused: torch's allocator of pinned memory may go on asking which stream is theirs."""


@dataclass
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: list[Any]
    outputs: Any


class GraphPool:
    """Captured graphs by function and shape; replays one by copying the inputs in and the outputs out.

    All are captured on one stream of the pipeline's own device, and work in the same memory: they never run at the same
    time, and what one gives is copied before the next one starts. Does nothing on devices other than CUDA. The caller
    holds a lock: a graph's buffers serve one replay at a time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graphs: dict[Hashable, _Graph] = {}
        self._stream: torch.cuda.Stream | None = None
        self._memory: Any = None
        self._copied: torch.cuda.Event | None = None
        self.refused: dict[Hashable, str] = {}

    def capture(self, key: Hashable, function: Callable[..., Any], args: tuple[Any, ...]) -> str | None:
        """Captures `function(*args)` where the device and the size allow.

        Returns:
            "captured", or why it was not; None on devices other than CUDA.
        """
        if self._device.type != "cuda":
            return None
        leaves = [x for x in pytree.tree_leaves(args) if isinstance(x, torch.Tensor)]
        if sum(x.nbytes for x in leaves) > MOST_BYTES:
            return f"none: its inputs are larger than {MOST_BYTES // 2**20} MiB"
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        current = torch.cuda.current_stream(self._device)
        still = pytree.tree_map_only(torch.Tensor, torch.clone, args)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                for _ in range(2):  # lets libraries choose kernels and take workspaces before the capture
                    function(*still)
                graph, outputs = self._capture(function, still)
        except RuntimeError as error:  # a model that synchronises cannot be captured; it runs compiled all the same
            self.refused[key] = f"{type(error).__name__}: {error}"
            return f"refused: {self.refused[key]}"
        finally:
            current.wait_stream(self._stream)
        self._graphs[key] = _Graph(graph, pytree.tree_leaves(still), outputs)
        return "captured"

    def replay(self, key: Hashable, args: tuple[Any, ...]) -> Any:
        """The outputs for these inputs, or None where nothing was captured for them."""
        captured = self._graphs.get(key)
        if captured is None:
            return None
        current = torch.cuda.current_stream(self._device)
        if self._copied is None:
            self._copied = torch.cuda.Event()
        current.wait_event(self._copied)  # the replay before may have been another thread's, on a stream of its own
        for still, new in zip(captured.inputs, pytree.tree_leaves(args), strict=True):
            if isinstance(still, torch.Tensor):
                still.copy_(new, non_blocking=True)
        captured.graph.replay()
        outputs = pytree.tree_map_only(torch.Tensor, torch.clone, captured.outputs)
        self._copied.record(current)
        return outputs

    def forget(self, key: Hashable) -> None:
        """Lets a graph go, if there is one, and what is its alone."""
        if self._graphs.pop(key, None) is not None:
            torch.cuda.synchronize(self._device)  # it may be running

    def _capture(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[torch.cuda.CUDAGraph, Any]:
        """Captures on the current stream.

        `torch.cuda.graph` would do, were it not for captures that fail: it then leaves the thread on the capture's
        stream, and the allocator in a state in which memory that was used on two streams is never given back.
        """
        graph = torch.cuda.CUDAGraph()
        memory = self._memory or torch.cuda.graph_pool_handle()
        torch.cuda.synchronize(self._device)
        try:
            # other threads may copy to the device meanwhile: only this thread's calls are held to the capture's rules
            graph.capture_begin(pool=memory, capture_error_mode="thread_local")
            outputs = function(*args)
        except BaseException:
            _abandon(graph, self._device, memory)
            raise
        try:
            graph.capture_end()
        except RuntimeError:
            _give_back(graph, self._device, memory)
            raise
        self._memory = memory
        return graph, outputs


def _abandon(graph: torch.cuda.CUDAGraph, device: torch.device, memory: Any) -> None:
    """Ends a capture that has failed."""
    try:
        with warnings.catch_warnings():  # that the graph is empty, where the first operation has failed
            warnings.simplefilter("ignore")
            graph.capture_end()  # where the failure was not CUDA's, this ends it properly
    except RuntimeError:
        _give_back(graph, device, memory)


def _give_back(graph: torch.cuda.CUDAGraph, device: torch.device, memory: Any) -> None:
    """Does what `capture_end` leaves out when it raises: the allocator and the random numbers are as before."""
    for undo in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
        with suppress(RuntimeError):  # it had come as far as that, or the capture had not begun
            undo(device.index, memory)
    _FAILED.append(graph)
    generator = torch.cuda.default_generators[device.index]
    generator.graphsafe_set_state(generator.clone_state())  # its own state goes on waiting for the end of the capture
