"""CUDA graphs for small static batches, where launching kernels costs more than running them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

MOST_BYTES = 32 * 2**20
"""Batches of more input bytes than this are launched as usual: their kernels take longer than their launches."""


@dataclass
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: list[Any]
    outputs: Any


class GraphPool:
    """Captured graphs by function and shape; replays one by copying the inputs in and the outputs out.

    Does nothing on devices other than CUDA. The caller holds a lock: a graph's buffers serve one replay at a time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graphs: dict[Hashable, _Graph] = {}
        self.refused: dict[Hashable, str] = {}

    def capture(self, key: Hashable, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Records `function(*args)` where the device and the size allow; `refused` says why where it cannot be."""
        if self._device.type != "cuda":
            return
        leaves = [x for x in pytree.tree_leaves(args) if isinstance(x, torch.Tensor)]
        if sum(x.nbytes for x in leaves) > MOST_BYTES:
            return
        still = pytree.tree_map_only(torch.Tensor, torch.clone, args)
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        try:
            with torch.cuda.stream(side):
                for _ in range(2):  # lets libraries choose kernels and take workspaces before the recording
                    function(*still)
            torch.cuda.current_stream(self._device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # other threads may copy to the device meanwhile: only this thread's calls are held to the capture's rules
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                outputs = function(*still)
        except RuntimeError as error:  # a model that synchronises cannot be captured; it runs compiled all the same
            self.refused[key] = str(error)
            torch.cuda.synchronize(self._device)
            return
        self._graphs[key] = _Graph(graph, pytree.tree_leaves(still), outputs)

    def replay(self, key: Hashable, args: tuple[Any, ...]) -> Any:
        """The outputs for these inputs, or None where nothing was captured for them."""
        captured = self._graphs.get(key)
        if captured is None:
            return None
        for still, new in zip(captured.inputs, pytree.tree_leaves(args), strict=True):
            if isinstance(still, torch.Tensor):
                still.copy_(new, non_blocking=True)
        captured.graph.replay()
        return pytree.tree_map_only(torch.Tensor, torch.clone, captured.outputs)
