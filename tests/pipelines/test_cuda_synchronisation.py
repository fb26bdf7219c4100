"""Streams, events and graphs of the engine, on a pretend CUDA device; and that each of them is needed.

What is left out on purpose, one thing at a time, must be noticed: by a fault or by a wrong answer. A mutant that comes
through means that the pretend device has stopped looking.
"""

from __future__ import annotations

import pytest
import torch

from sensorium.pipelines.graphs import GraphPool
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from sensorium.pipelines.runtime import PipelineRuntime
from sensorium.pipelines.transfer import RING, Uploader, _PinnedSlot
from tests.pipelines.made_up import WholeScoring, WindowScoring, expected
from tests.pretend_cuda import PretendCuda
from tests.pretend_cuda.mutants import mutated


class Demanding(WindowScoring):
    """Gives what the model gives, and leaves work on the device behind that its decode does not wait for."""

    def forward(self, batch, options, call):
        return call(self.model, batch["window"], batch["question"])

    def decode(self, outputs, metas, options):
        parts = super().decode(outputs, metas, options)
        outputs.sum()
        return parts


RAWS = [{"series": list(range(i % 37)), "question": i % 8} for i in range(60)]


def run(device="cuda:0", *, compiled, make=Demanding, raws=RAWS, rounds=2, **settings):
    """What the pretend device has seen, and how many of the results were wrong."""
    with PretendCuda(devices=2) as cuda:
        task, device = make(), torch.device(device)
        task.model.to(device)
        with Pipeline(task, Placement(device, torch.float32), batch_size=8, compile=compiled, **settings) as pipe:
            cuda.waits.clear()
            wrong = 0
            for _ in range(rounds):  # the second time through the captured graphs
                for raw, result in zip(raws, pipe(raws, on_error="return"), strict=True):
                    wrong += getattr(result, "value", None) != pytest.approx(expected(raw), rel=1e-4, abs=1e-3)
            batches = pipe.stats()["batches"]
    return cuda, wrong, batches


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_the_engine_s_order_is_right(device, compiled):
    cuda, wrong, batches = run(device, compiled=compiled)
    cuda.check()
    assert not wrong
    assert cuda.waits.total() <= batches + cuda.graphs_captured, cuda.waits_text()  # decode's copy, and one a capture
    assert (cuda.graphs_replayed > batches // 4) == compiled


def upload_batches():
    """As `run`, for uploads alone: nothing waits for the device but the ring itself."""
    with PretendCuda() as cuda:
        task, upload = WindowScoring(), Uploader(torch.device("cuda", 0))
        batches = [
            upload(task, list(task.split({"series": [float(i)] * 64, "question": 1}, task.options())))
            for i in range(3 * RING)
        ]
        torch.cuda.synchronize()
        wrong = sum(not bool((batch["window"] == i).all()) for i, batch in enumerate(batches))
        del batches
    return cuda, wrong, 3 * RING


def test_a_ring_of_pinned_buffers_is_enough():
    cuda, wrong, _ = upload_batches()
    cuda.check()
    assert not wrong


def test_units_of_other_lengths_and_several_threads():
    cuda, wrong, _ = run(compiled=False, make=WholeScoring, num_workers=4)
    cuda.check()
    assert not wrong


MUTANTS = {
    "compute does not wait for the copy": (Uploader, "__call__", "compute.wait_event(slot.copied)", "pass"),
    "the copy's end is marked on another stream": (Uploader, "__call__", "record(self._stream)", "record(compute)"),
    "the allocator does not know who uses the copy": (Uploader, "__call__", "tensor.record_stream(compute)", "pass"),
    "a pinned buffer is written while it is copied": (_PinnedSlot, "reclaim", "self.copied.synchronize()", "pass"),
    "decode does not wait for the model": (PipelineRuntime, "decoding", "stream.wait_event(ready)", "pass"),
    "the model's end is marked on another stream": (
        PipelineRuntime,
        "mark",
        "torch.cuda.current_stream(self._device)",
        "self._decode_stream",
    ),
    "outputs are let go while they are decoded": (PipelineRuntime, "decoding", "tensor.record_stream(stream)", "pass"),
    "decode runs beside nothing": (PipelineRuntime, "decoding", "torch.cuda.stream(stream)", "nullcontext()"),
    "outputs of a graph are given out": (
        GraphPool,
        "replay",
        "outputs = pytree.tree_map_only(torch.Tensor, torch.clone, captured.outputs)",
        "outputs = captured.outputs",
    ),
    "a graph's inputs are not renewed": (GraphPool, "replay", "still.copy_(new, non_blocking=True)", "pass"),
    "the capture does not wait for its inputs": (GraphPool, "capture", "self._stream.wait_stream(current)", "pass"),
}
EQUAL = {"decode runs beside nothing"}
"""Slower, but right: that nothing is found here shows that the checks do not fail on everything that is changed."""


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_left_out_is_noticed(name, monkeypatch):
    owner, method, old, new = MUTANTS[name]
    monkeypatch.setattr(owner, method, mutated(getattr(owner, method), old, new))
    cuda, wrong, _ = upload_batches() if owner is _PinnedSlot else run(compiled=True)
    assert bool(cuda.faults or wrong) == (name not in EQUAL), cuda.faults[:3]


def test_a_mutant_follows_what_it_changes():
    with pytest.raises(ValueError, match=r"reclaim has 'self.copied.wait\(\)' 0 times"):
        mutated(_PinnedSlot.reclaim, "self.copied.wait()", "pass")
