"""The runtime of a pipeline: uploads batches and calls a model's functions, eagerly or compiled, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from sensorium.pipelines.allocator import keep_memory
from sensorium.pipelines.compiling import Compiler
from sensorium.pipelines.cores import use_no_more_threads
from sensorium.pipelines.precision import FullFloat32
from sensorium.pipelines.recording import GraphRecorder
from sensorium.pipelines.statistics import Statistics
from sensorium.pipelines.transfer import Uploader
from sensorium.pipelines.turns import Turns
from sensorium.tasks.base import Batch, Call, Runtime, Task, Unit


class PipelineRuntime(Runtime):
    """Runs the model of a placed task.

    Attributes:
        turns: whose turn it is; held while the model runs.
        compiler: decides when functions are compiled, and compiles them.
        recorder: records steps as CUDA graphs, unless nothing is to be compiled.
    """

    def __init__(
        self, task: Task, compile: bool | Literal["auto", "max-autotune", "cudagraphs"], statistics: Statistics
    ) -> None:
        super().__init__(task.runtime.module)
        use_no_more_threads()
        keep_memory()
        self.turns = Turns()
        self._device = super().device
        self.compiler = Compiler(compile, self._device, statistics, super().dtype)
        records = self._device.type == "cuda" and compile is not False
        self.recorder = GraphRecorder(self._device) if records else None
        self._upload = Uploader(self._device)
        self._decode_stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._precision = FullFloat32() if super().dtype == torch.float32 else nullcontext()

    @property
    def device(self) -> torch.device:
        """Where batches go; asked of the weights once."""
        return self._device

    @property
    def overlaps(self) -> bool:
        """Whether a batch is decoded while the next one runs."""
        return self._decode_stream is not None

    def running(self) -> AbstractContextManager[Any]:
        """The device for one batch or step, when its turn has come; on CUDA the current one, with float32 in full."""
        return self._on_cuda() if self._device.type == "cuda" else self.turns

    def upload(self, task: Task, units: Sequence[Unit]) -> Batch:
        """The batch of these units, on the device."""
        return self._upload(task, units)

    def caller(self, *, compiled: bool) -> Call:
        """What runs a task's functions for one batch."""
        return self.compiler.compiled if compiled else self.compiler.eager

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Returns `function(*args)`, run eagerly."""
        return self.compiler.eager(function, *args)

    def mark(self) -> torch.cuda.Event | None:
        """A point in the device's time, on CUDA."""
        if self._device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    @contextmanager
    def decoding(self, outputs: Any, ready: torch.cuda.Event | None) -> Iterator[None]:
        """Within it outputs are decoded, on CUDA beside the next batch; float32 is in full, for models run here, too.

        Args:
            outputs: what the model gave.
            ready: marked behind them.
        """
        stream = self._decode_stream
        if stream is None:
            yield
            return
        if ready is not None:
            stream.wait_event(ready)
            for tensor in pytree.tree_leaves(outputs):
                if isinstance(tensor, torch.Tensor) and tensor.device == self._device:  # some are on the CPU by then
                    tensor.record_stream(stream)
        with torch.cuda.stream(stream), self._precision:
            yield

    def keep_stream(self) -> Callable[[], AbstractContextManager[Any]]:
        """Gives what later work is done within, from whichever thread, to follow on what this thread has begun."""
        if self._device.type != "cuda":
            return nullcontext
        return partial(torch.cuda.stream, torch.cuda.current_stream(self._device))

    def release(self) -> None:
        """Gives back device memory that is kept for later, after a batch did not fit."""
        if self.recorder is not None:
            self.recorder.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def lost(self) -> bool:
        """Whether, after a failure, the device does nothing any more: what a kernel did wrong, CUDA never forgets."""
        if self._device.type != "cuda":
            return False
        try:
            torch.cuda.synchronize(self._device)
        except RuntimeError:
            return True
        return False

    @contextmanager
    def _on_cuda(self) -> Iterator[None]:
        with self.turns, self.keep_stream()(), self._precision:  # a stream makes its device the current one, too
            yield
