"""Batches through the model: upload, forward, decode, and what to do when one of these fails."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils import _pytree as pytree

from sensorium.checkpoints.opening import panics_told
from sensorium.errors import DeviceError, InputError
from sensorium.pipelines.batching import BatchSizer, is_out_of_memory, padded_rows
from sensorium.pipelines.finiteness import Finiteness, not_finite
from sensorium.pipelines.items import Entry
from sensorium.pipelines.runtime import PipelineRuntime
from sensorium.pipelines.statistics import Statistics
from sensorium.tasks.base import Task

COMPARED = 6
"""Compiled batches after which "auto" compares their cost with the eager ones'."""


Refuse = Callable[["Entry", Exception, InputError], None]
"""Told of a unit that failed alone, with what it failed of, and what its input gets of it."""


class Forwarder:
    """Runs batches on one device, one at a time, whichever thread they come from.

    Args:
        task: with its model on the device.
        runtime: of the model.
        sizer: of its batches.
        statistics: told what is done.

    Attributes:
        lost: why the device does nothing any more, where others go on.
    """

    lost: DeviceError | None = None

    def __init__(self, task: Task, runtime: PipelineRuntime, sizer: BatchSizer, statistics: Statistics) -> None:
        self.task, self.runtime, self.sizer, self.statistics = task, runtime, sizer, statistics

    @property
    def device(self) -> torch.device:
        """Where they run."""
        return self.runtime.device

    def counts(self) -> dict[str, Any]:
        """What has been done there: see `Statistics.of_device`; `device`, `batch_size`, and whether it is `lost`."""
        kept = {"batch_size": self.sizer.size, "lost": self.lost is not None}
        return {"device": str(self.device), **self.statistics.of_device(), **kept}


@dataclass(slots=True)
class _Flight:
    """A batch whose outputs may still be on their way."""

    entries: list[Entry]
    outputs: Any
    compiled: bool
    seconds: float
    finiteness: Finiteness
    began: torch.cuda.Event | None = None
    ended: torch.cuda.Event | None = None

    @property
    def finished(self) -> bool:
        """Whether the device is done with it, or gives no answer: landing it tells why."""
        try:
            return self.ended is None or self.ended.query()
        except RuntimeError:
            return True

    def measure(self) -> None:
        """Takes the seconds that the device was busy for, where it tells; waits until it is done."""
        if self.began is not None and self.ended is not None:
            self.ended.synchronize()
            self.seconds = self.began.elapsed_time(self.ended) / 1000


class Flights:
    """Launches batches on one device, and lands them: their parts go to the items that they belong to.

    A batch runs with the options of its items, which are the same for all of them, on the calling thread.

    Args:
        forwarder: runs them.
        total: how many inputs there will be, where that is known.
        refuse: what becomes of a unit that failed alone; that is its input's error unless given.
    """

    busy = under_way = landed = False  # it does nothing by itself

    def __init__(self, forwarder: Forwarder, total: int | None, refuse: Refuse | None = None) -> None:
        self._forwarder, self._total = forwarder, total
        self._refuse = refuse or fail
        self._under_way: deque[_Flight] = deque()
        self._depth = int(forwarder.runtime.overlaps)
        self._spent_s, self._done = 0.0, 0
        self._compiled = False
        self._costs: dict[bool, deque[float]] = {False: deque(maxlen=16), True: deque(maxlen=16)}

    @property
    def size(self) -> int:
        """The cost that the next batch may have."""
        return self._forwarder.sizer.size

    @property
    def most(self) -> int:
        """The same: one batch runs at a time."""
        return self._forwarder.sizer.size

    def launch(self, entries: list[Entry]) -> None:
        """Runs a batch; on CUDA its outputs are decoded while the next one runs."""
        pending = [entries] if entries else []
        while pending:
            chunk = pending.pop(0)
            try:
                self._under_way.append(self._forward(chunk))
                failure = None
            except Exception as error:  # noqa: BLE001 - handled below, outside of the except: the traceback holds device memory
                failure = error.with_traceback(None)
            if failure is not None:
                pending = self._after(failure, chunk, pending)
            while len(self._under_way) > self._depth:
                pending = self._land_oldest() + pending

    def land(self, *, finished: bool = False) -> bool:
        """Decodes the oldest batch that is under way, or only if the device is done with it; False if there is none."""
        if not self._under_way:
            return False
        if finished and not self._under_way[0].finished:
            return False
        for chunk in self._land_oldest():
            self.launch(chunk)
        return True

    def close(self) -> None:
        """Does nothing: what has been launched runs."""

    def _forward(self, entries: list[Entry]) -> _Flight:
        forwarder, runtime = self._forwarder, self._forwarder.runtime
        self._choose_mode()
        began = time.perf_counter()
        with runtime.running(), torch.inference_mode(), panics_told():
            units = [entry.unit for entry in entries]
            most = int(forwarder.sizer.size / entries[0].cost)
            rows = padded_rows(len(units), most) if self._compiled else len(units)
            forwarder.statistics.count("padded_rows", rows - len(units))
            batch = runtime.upload(forwarder.task, units + units[-1:] * (rows - len(units)))
            start = runtime.mark()
            call = runtime.caller(compiled=self._compiled)
            outputs = forwarder.task.forward(batch, entries[0].item.options, call)
            if rows > len(units):
                outputs = pytree.tree_map_only(torch.Tensor, lambda t: t[: len(units)], outputs)
            finiteness = Finiteness(outputs, len(units), runtime.device)
            end = runtime.mark()
        seconds = time.perf_counter() - began
        forwarder.statistics.count("batches")
        forwarder.statistics.add("forward", items=len(entries), seconds=seconds, waited=seconds)
        return _Flight(entries, outputs, self._compiled, seconds, finiteness, start, end)

    def _land_oldest(self) -> list[list[Entry]]:
        """Decodes a batch; returns what has to be run again."""
        flight = self._under_way.popleft()
        began = time.perf_counter()
        failure: Exception | None
        try:
            parts = self._decode(flight)
            flight.measure()
            failed = flight.finiteness.failed()
            failure = None if failed is None or failed.ndim else not_finite()
        except Exception as error:  # noqa: BLE001 - as in launch
            failure = error.with_traceback(None)
        seconds = time.perf_counter() - began
        self._forwarder.statistics.add("decode", items=len(flight.entries), seconds=seconds, waited=seconds)
        if failure is not None:
            entries, flight = flight.entries, None  # type: ignore[assignment]  # lets the outputs' memory go
            return self._after(failure, entries, [])
        each = (flight.seconds + seconds) / (_cost(flight.entries) or 1.0)
        for i, (entry, part) in enumerate(zip(flight.entries, parts, strict=True)):
            entry.item.seconds += each * entry.cost
            if failed is not None and failed[i]:
                entry.item.error = _culprit(not_finite(), entry, memory=False)
            else:
                entry.item.parts[entry.position] = part
        self._note(flight)
        return []

    def _decode(self, flight: _Flight) -> Sequence[Any]:
        decoding = self._forwarder.runtime.decoding(flight.outputs, flight.ended)
        with torch.inference_mode(), decoding, panics_told():
            metas = [entry.unit.meta for entry in flight.entries]
            return self._forwarder.task.decode(flight.outputs, metas, flight.entries[0].item.options)

    def _after(self, failure: Exception, chunk: list[Entry], rest: list[list[Entry]]) -> list[list[Entry]]:
        """What to run next when a batch has failed: smaller batches, until the culprit is alone.

        Raises:
            DeviceError: nothing can be run any more.
        """
        runtime, memory = self._forwarder.runtime, is_out_of_memory(failure)
        if not memory and runtime.lost():
            raise _lost(runtime.device, chunk) from failure
        if memory:
            self._forwarder.statistics.count("out_of_memory")
            self._forwarder.sizer.shrink(_cost(chunk))
            while self._under_way:  # the outputs of the batch before take room, too
                rest = self._land_oldest() + rest
            runtime.release()
        if len(chunk) == 1:
            self._refuse(chunk[0], failure, _culprit(failure, chunk[0], memory=memory))
            return rest
        smaller = _pieces(chunk, max(1, len(chunk) // 2))
        if not memory:
            return smaller + rest
        # each by itself: a batch of other options or of another shape may be among them
        fits = self._forwarder.sizer.size
        return [piece for batch in [*smaller, *rest] for piece in _pieces(batch, int(fits / batch[0].cost) or 1)]

    def _choose_mode(self) -> None:
        compiler, sizer = self._forwarder.runtime.compiler, self._forwarder.sizer
        if self._compiled or (compiler.setting == "auto" and not sizer.settled):
            return
        foreseen = None
        if self._total is not None:
            foreseen = (self._total - self._done) * self._spent_s / self._done if self._done else 0.0
        self._compiled = compiler.pays(self._spent_s, foreseen)

    def _note(self, flight: _Flight) -> None:
        """Learns the cost of a batch from one that has finished."""
        seconds = flight.seconds
        self._spent_s += seconds
        self._done += len(flight.entries)
        sizer, entries = self._forwarder.sizer, flight.entries
        if _cost(entries) + entries[0].cost > sizer.size:  # it was full
            sizer.record(sizer.size, seconds, sum(entry.nbytes for entry in entries))
        self._costs[flight.compiled].append(seconds / max(1, sum(entry.nbytes for entry in flight.entries)))
        eager, compiled = self._costs[False], self._costs[True]
        auto = self._forwarder.runtime.compiler.setting == "auto"
        if not (auto and flight.compiled and eager and len(compiled) == COMPARED):
            return
        if median(list(compiled)[1:]) > median(eager):  # the first one was spent compiling
            self._forwarder.runtime.compiler.disappointed()
            self._compiled = False


def fail(entry: Entry, failure: Exception, error: InputError) -> None:
    """Gives an error to the input of a unit."""
    entry.item.error = error


def _cost(entries: Sequence[Entry]) -> float:
    return sum(entry.cost for entry in entries)


def _pieces(entries: list[Entry], size: int) -> list[list[Entry]]:
    return [entries[i : i + size] for i in range(0, len(entries), size)]


def _lost(device: torch.device, entries: list[Entry]) -> DeviceError:
    indices = sorted({entry.item.index for entry in entries})
    return DeviceError(
        f"{device} failed for good while inputs {indices[0]} to {indices[-1]} ran, or soon before, and this process "
        "cannot use it any more. What was yielded before is right. Go on in a new process; with CUDA_LAUNCH_BLOCKING=1 "
        "set in its environment the failure comes from where it happens"
    )


def _culprit(failure: Exception, entry: Entry, *, memory: bool) -> InputError:
    if isinstance(failure, InputError):
        failure.index = entry.item.index
        return failure
    if memory:
        shapes = {name: tuple(tensor.shape) for name, tensor in entry.unit.inputs.items()}
        message = f"does not fit in the device's memory even alone (tensors {shapes}); use a smaller input or model"
        error = InputError(message, code="out-of-memory", index=entry.item.index)
    else:
        message = f"the model failed on this input: {type(failure).__name__}: {failure}"
        error = InputError(message, code="model-failed", index=entry.item.index)
    error.__cause__ = failure
    return error
