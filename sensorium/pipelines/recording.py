"""Steps of a loop as CUDA graphs, where launching their kernels takes longer than running them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

from sensorium.pipelines.graphs import GraphPool


class GraphRecorder:
    """Records each step the first time that it is done; see `sensorium.models.recorder.Recorder`.

    A step whose capture CUDA refuses runs as it is. The caller holds a lock, as for a `GraphPool`.

    Attributes:
        kept: the memory on which the steps work, by name.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._graphs = device, GraphPool(device)
        self.kept: dict[str, Any] = {}

    def run(self, key: Hashable, step: Callable[[], None], /) -> None:
        """Does a step, as recorded under this key if it was."""

        def recorded() -> tuple[()]:
            step()
            return ()

        if key not in self._graphs.refused:
            if self._graphs.replay(key, ()) is not None:
                return
            if self._graphs.capture(key, recorded, ()) == "captured":  # before which it was done
                return
        step()

    def forget(self) -> None:
        """Drops the graphs, since memory on which they work is going to move."""
        self._graphs = GraphPool(self._device)

    def clear(self) -> None:
        """Gives back the graphs and their memory."""
        self.forget()
        self.kept.clear()
