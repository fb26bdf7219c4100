"""What fails on CUDA, on a pretend device: memory at every stage, captures, kernels; and that it costs no more."""

from __future__ import annotations

import threading

import pytest
import torch

from sensorium.errors import DeviceError, InputError
from sensorium.pipelines import graphs
from sensorium.pipelines.forwarding import Flights, _Flight
from sensorium.pipelines.graphs import GraphPool
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from sensorium.pipelines.runtime import PipelineRuntime
from tests.pipelines.made_up import Scorer, WindowScoring, expected
from tests.pretend_cuda import PretendCuda
from tests.pretend_cuda.mutants import mutated

RAWS = [{"series": [1.0, 2.0, float(i)], "question": i % 8} for i in range(24)]


def opened(task, device="cuda:0", **settings):
    task.model.to(device)
    settings = {"batch_size": 8, "compile": False, "num_workers": 1, **settings}
    return Pipeline(task, Placement(torch.device(device), torch.float32), **settings)


def wrong(raws, results):
    right = [result.value == pytest.approx(expected(raw), rel=1e-4) for raw, result in zip(raws, results, strict=True)]
    return right.count(False)


def values(results):
    return [getattr(result, "value", result) for result in results]


# Memory


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("stage", ["allocation", "copy", "operation"])
def test_memory_may_run_out_anywhere(stage, compiled):
    """In the upload, the model, a warm-up, a capture, a replay, the decoding: each of their steps fails once."""
    nth, failed = 0, 1
    while failed:
        nth += 1
        with PretendCuda() as cuda, opened(WindowScoring(), compile=compiled) as pipe:
            cuda.fail_at(nth, stage)
            for _ in range(1 + compiled):
                assert not wrong(RAWS[:16], pipe(RAWS[:16])), f"{stage} {nth}"
            failed = cuda.ran_out
            assert pipe.stats()["out_of_memory"] <= failed
            assert pipe.stats()["failures"] == 0
        cuda.check()
    assert nth > (6 if stage == "copy" else 12)


def test_memory_that_is_short_makes_batches_smaller():
    raws = [{"series": [1.0] * 4096, "question": 1}] * 2
    with PretendCuda() as cuda, opened(WindowScoring(), batch_size=1024) as pipe:
        cuda.limit_bytes = cuda.bytes_alive() + 24 * 1024
        assert not wrong(raws, pipe(raws))
        assert pipe.stats()["batch_size"] < 1024
        assert cuda.ran_out
        cuda.check()


@pytest.mark.parametrize("compiled", [False, True])
def test_memory_stays_as_it_is_over_many_batches(compiled):
    with PretendCuda() as cuda, opened(WindowScoring(), compile=compiled) as pipe:
        alive = []
        for _ in range(6):
            assert not wrong(RAWS * 3, pipe(RAWS * 3))
            alive.append(cuda.bytes_alive())
        assert pipe.stats()["batches"] >= 50
        assert alive[1:] == alive[1:2] * 5
        cuda.check()


# Captures


class Waits(Scorer):
    """A model that asks for a value, which no graph can hold."""

    def forward(self, window, question):
        if not torch.isfinite(window).all():
            raise ValueError("not finite")
        return super().forward(window, question)


def run_what_cannot_be_captured(version):
    """Runs whose captures are refused: the machine, bytes alive after each, their results, and what is left."""
    with PretendCuda(torch_version=version) as cuda, opened(WindowScoring(Waits()), compile=True) as pipe:
        stream, alive, results = torch.cuda.current_stream(), [], []
        for _ in range(18):
            results += pipe(RAWS)
            alive.append(cuda.bytes_alive())
        seen = {
            "batches": pipe.stats()["batches"],
            "same stream": torch.cuda.current_stream() is stream,
            "open": cuda.allocator.pools_open,
            "random": torch.rand(2, device="cuda").cpu().shape,
        }
    return cuda, alive, results, seen


@pytest.mark.parametrize("version", [(2, 11), (2, 13)])
def test_a_refused_capture_leaves_nothing_behind(version):
    cuda, alive, results, seen = run_what_cannot_be_captured(version)
    assert cuda.counts["refused captures"] >= 1
    assert cuda.graphs_captured == 0
    assert not wrong(RAWS * 18, results)
    assert seen == {"batches": 54, "same stream": True, "open": 0, "random": torch.Size([2])}
    assert alive[1:] == alive[1:2] * 17
    cuda.check()


def test_a_model_that_cannot_be_recorded_runs_as_it_is_and_says_so():
    with PretendCuda() as cuda, opened(WindowScoring(Waits()), compile="cudagraphs") as pipe:
        with pytest.warns(RuntimeWarning, match="cannot be recorded as a CUDA graph, and runs as it is"):
            results = pipe(RAWS)
        results += pipe(RAWS)
    assert not wrong(RAWS * 2, results)
    assert cuda.graphs_captured == 0
    cuda.check()


def test_a_capture_that_is_not_cleaned_up_is_noticed(monkeypatch):
    monkeypatch.setattr(graphs, "_give_back", lambda *_: None)
    with pytest.raises(RuntimeError, match="Offset increment"):
        run_what_cannot_be_captured((2, 11))


@pytest.mark.parametrize("version", [(2, 11), (2, 13)])
def test_a_refused_capture_holds_no_pool(version):
    x, device = {}, torch.device("cuda", 0)
    with PretendCuda(torch_version=version) as cuda, torch.inference_mode():
        pool, x["x"] = GraphPool(device), torch.ones(1000, device=device)
        alive = cuda.bytes_alive()
        pool.capture("waits", lambda x: (x * 2).sum().item(), (x["x"],))
        assert "waits" in pool.refused
        assert cuda.bytes_alive() == alive
        cuda.check()


def test_graphs_lie_on_the_pipeline_s_device(monkeypatch):
    device = torch.device("cuda", 1)

    def replayed():
        with PretendCuda(devices=2) as cuda, torch.inference_mode():
            pool = GraphPool(device)
            first, second = torch.ones(3, device=device), torch.full((3,), 2.0, device=device)
            pool.capture("key", lambda x: x + 1, (first,))
            return cuda, [pool.replay("key", (x,)).tolist() for x in (first, second)]

    cuda, got = replayed()
    cuda.check()
    assert got == [[2] * 3, [3] * 3]
    capture = mutated(GraphPool.capture, "torch.cuda.Stream(self._device)", "torch.cuda.Stream()")
    monkeypatch.setattr(GraphPool, "capture", capture)
    with pytest.warns(UserWarning, match="CUDA Graph is empty"):
        cuda, got = replayed()
    assert cuda.faults
    assert got[1] == [2] * 3, "the second replay gives the first answer"


# Outputs that are on the CPU already, as a transcript's tokens are


class OnTheHost(WindowScoring):
    def forward(self, batch, options, call):
        return super().forward(batch, options, call).cpu()


def test_outputs_may_be_on_the_cpu():
    with PretendCuda() as cuda, opened(OnTheHost()) as pipe:
        assert not wrong(RAWS, pipe(RAWS))
    cuda.check()


PUT_BACK = {
    "record_stream of CPU tensors": (PipelineRuntime, "decoding", " and tensor.device == self._device", ""),
    "time of an event that is not over": (_Flight, "measure", "self.ended.synchronize()", "pass"),
}


@pytest.mark.parametrize("name", PUT_BACK)
def test_what_outputs_on_the_cpu_would_run_into_is_noticed(name, monkeypatch):
    owner, method, old, new = PUT_BACK[name]
    monkeypatch.setattr(owner, method, mutated(getattr(owner, method), old, new))
    with PretendCuda(), opened(OnTheHost()) as pipe:
        results = pipe(RAWS, on_error="return")
    assert [type(value) for value in values(results)].count(float) < len(RAWS)


# Kernels


@pytest.mark.parametrize("compiled", [False, True])
def test_an_index_out_of_range_ends_the_run_with_its_cause(compiled):
    raws = [*RAWS[:16], {"series": [1.0], "question": 8}, *RAWS[17:]]
    got = []
    with PretendCuda() as cuda, opened(WindowScoring(), compile=compiled) as pipe:
        with pytest.raises(DeviceError, match="cuda:0 failed for good while inputs 16 to 23 ran") as failed:
            for result in pipe.stream(iter(raws), on_error="return"):
                got.append(result)
        assert "device-side assert" in str(failed.value.__cause__)
        with pytest.raises(DeviceError):
            pipe(RAWS[0])
    assert not wrong(raws[: len(got)], got)
    assert len(got) >= 8
    assert cuda.dead


TAKEN_FOR_ONE_INPUTS = {
    "nobody asks whether it goes on": (
        PipelineRuntime,
        "lost",
        "torch.cuda.synchronize(self._device)",
        "pass",
    ),
    "its answer is taken for no": (PipelineRuntime, "lost", "return True", "return False"),
    "a failure is looked at as one of memory": (Flights, "_after", "not memory and runtime.lost()", "False"),
}


@pytest.mark.parametrize("name", TAKEN_FOR_ONE_INPUTS)
def test_a_dead_device_that_is_taken_for_the_inputs_fault_is_noticed(name, monkeypatch):
    owner, method, old, new = TAKEN_FOR_ONE_INPUTS[name]
    monkeypatch.setattr(owner, method, mutated(getattr(owner, method), old, new))
    raws = [*RAWS[:16], {"series": [1.0], "question": 8}, *RAWS[17:]]
    with PretendCuda() as cuda, opened(WindowScoring()) as pipe:
        outcomes = pipe(raws, on_error="return")  # no DeviceError: each later input is blamed instead
    assert cuda.dead
    assert [type(outcome) for outcome in outcomes[17:]] == [InputError] * 7


# Runs beside each other


@pytest.mark.parametrize("compiled", [False, True])
def test_a_stream_that_is_abandoned(compiled):
    with PretendCuda() as cuda, opened(WindowScoring(), compile=compiled) as pipe:
        stream = pipe.stream(iter(RAWS * 4))
        next(stream)
        stream.close()
        assert not wrong(RAWS, pipe(RAWS))
    cuda.check()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("own_streams", [False, True])
def test_many_threads_share_a_pipeline(compiled, own_streams):
    with PretendCuda() as cuda, opened(WindowScoring(), compile=compiled) as pipe:
        got = {}

        def work(n):
            with torch.cuda.stream(torch.cuda.Stream() if own_streams else None):
                got[n] = [pipe(RAWS), pipe(RAWS[::-1])]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not sum(wrong(RAWS, one) + wrong(RAWS[::-1], two) for one, two in got.values())
        assert len(got) == 4
    cuda.check()


def test_two_pipelines_on_two_devices():
    with PretendCuda(devices=2) as cuda:
        with opened(WindowScoring(), "cuda:0", compile=True) as a, opened(WindowScoring(), "cuda:1", compile=True) as b:
            got = {}
            threads = [
                threading.Thread(target=lambda name=name, pipe=pipe: got.update({name: pipe(RAWS) + pipe(RAWS)}))
                for name, pipe in (("a", a), ("b", b))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not wrong(RAWS * 4, got["a"] + got["b"])
        assert min(torch.cuda.max_memory_allocated(device) for device in (0, 1)) > 0
        cuda.check()


class Telling(WindowScoring):
    """Notes whether TF32 is allowed where its model may run: in forward, and in decode."""

    def __init__(self):
        super().__init__()
        self.allowed = []

    def forward(self, batch, options, call):
        self.allowed.append(("forward", torch.backends.cudnn.allow_tf32))
        return super().forward(batch, options, call)

    def decode(self, outputs, metas, options):
        self.allowed.append(("decode", torch.backends.cudnn.allow_tf32))
        return super().decode(outputs, metas, options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float32_is_float32_in_forward_and_in_decode(dtype):
    assert torch.backends.cudnn.allow_tf32, "torch's default"
    with PretendCuda():
        task = Telling()
        task.model.to(dtype)
        with opened(task) as pipe:
            pipe(RAWS[:20])
    assert set(task.allowed) == {(stage, dtype != torch.float32) for stage in ("forward", "decode")}
    assert torch.backends.cudnn.allow_tf32
