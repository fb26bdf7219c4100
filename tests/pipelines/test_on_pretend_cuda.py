"""The engine on a pretend CUDA device where something goes wrong: memory, captures, streams, dead contexts."""

from __future__ import annotations

import gc
import threading

import pytest
import torch

from sensorium.errors import DeviceError
from sensorium.pipelines.compiling import Compiler
from sensorium.pipelines.forwarding import _Flight
from sensorium.pipelines.graphs import GraphPool
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from sensorium.pipelines.runtime import PipelineRuntime
from sensorium.pipelines.statistics import Statistics
from tests.pipelines.made_up import WindowScoring, expected
from tests.pretend_cuda import PretendCuda
from tests.pretend_cuda.mutants import mutated

RAWS = [{"series": [1.0, 2.0, 3.0, float(i)], "question": i % 8} for i in range(48)]
VERSIONS = [(2, 11), (2, 13)]


def placed(make=WindowScoring, device="cuda:0"):
    task, device = make(), torch.device(device)
    task.model.to(device)
    return task, Placement(device, torch.float32)


def values(results):
    return [result.value for result in results]


WANTED = pytest.approx([expected(raw) for raw in RAWS], rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("stage", ["allocation", "copy", "operation"])
@pytest.mark.parametrize("compiled", [False, True])
def test_out_of_memory_at_every_stage(stage, compiled):
    """Whichever allocation, copy or operation of a run fails, it goes on with smaller batches, and nothing is lost."""
    nth, failed = 1, True
    while failed:
        with PretendCuda() as cuda:
            task, placement = placed()
            with Pipeline(task, placement, batch_size=16, compile=compiled) as pipe:
                cuda.fail_at(nth, stage)
                got = values(pipe(RAWS))
                failed, stats = cuda.ran_out > 0, pipe.stats()
                refused = [each for each in stats["compiled"] if (each["graph"] or "").startswith("refused")]
        cuda.check()
        assert got == WANTED, nth
        assert stats["failures"] == 0
        assert not failed or stats["out_of_memory"] == 1 or refused, (nth, stats)
        nth += 5 if compiled and stage == "operation" else 2
    assert nth > 5, "none of this kind was met"


class Waiting(WindowScoring):
    """Asks in the middle of forward whether a window is empty, as a model must not that is to be captured."""

    def forward(self, batch, options, call):
        return call(self.compute, batch["window"], batch["question"])

    def compute(self, window, question):
        if bool((window == 0).all()):
            return torch.zeros(len(window), device=window.device)
        return self.model(window, question)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_capture_leaves_no_trace(version):
    with PretendCuda(torch_version=version) as cuda:
        task, placement = placed(Waiting)
        before = torch.cuda.current_stream()
        with Pipeline(task, placement, batch_size=4, compile=True, num_workers=1) as pipe:
            alive = []
            for _ in range(50):
                assert values(pipe(RAWS[:4])) == pytest.approx([expected(raw) for raw in RAWS[:4]], rel=1e-4)
                alive.append(cuda.bytes_alive())
            stats = pipe.stats()
        assert cuda.counts["refused captures"] == 1
        assert [each["graph"].partition(": ")[0] for each in stats["compiled"]] == ["refused"]
        assert torch.cuda.current_stream() is before
        assert cuda.allocator.pools_open == 0
        assert len(set(alive)) == 1, "memory is steady"
        torch.ones(3, device="cuda").normal_()
    cuda.check()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_capture_leaves_thread_allocator_and_generator_as_they_were(version):
    with PretendCuda(torch_version=version) as cuda, torch.inference_mode():
        x, before = torch.ones(3, device="cuda"), torch.cuda.current_stream()
        pool = GraphPool(x.device)
        assert pool.capture("key", lambda t: t * float(t.sum()), (x,)).startswith("refused")
        assert torch.cuda.current_stream() is before
        assert cuda.allocator.pools_open == 0
        x.normal_()
    cuda.check()


@pytest.mark.parametrize("version", VERSIONS)
def test_after_a_refused_capture_others_are_captured(version):
    with PretendCuda(torch_version=version) as cuda, torch.inference_mode():
        device = torch.device("cuda", 0)
        compiler = Compiler(True, device, Statistics())
        x = torch.arange(4.0, device=device)
        for function in (torch.neg, lambda t: t * float(t.sum()), torch.exp):
            for _ in range(3):
                got = compiler.compiled(function, x)
                torch.testing.assert_close(got.cpu(), function(x).cpu())
        graphs = [each["graph"] for each in compiler.report]
    cuda.check()
    assert [graph == "captured" for graph in graphs] == [True, False, True]
    assert cuda.graphs_replayed == 4


def test_graphs_of_a_second_card_give_new_answers():
    with PretendCuda(devices=2) as cuda, torch.inference_mode():
        device = torch.device("cuda", 1)
        pool = GraphPool(device)
        first, second = (torch.full((4,), value, device=device) for value in (1.0, 2.0))
        assert pool.capture("key", torch.neg, (first,)) == "captured"
        assert [pool.replay("key", (x,)).tolist() for x in (first, second)] == [[-1.0] * 4, [-2.0] * 4]
    cuda.check()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_stream_that_is_left_behind(compiled):
    with PretendCuda() as cuda:
        task, placement = placed()
        with Pipeline(task, placement, batch_size=4, compile=compiled) as pipe:
            for count in (0, 1, 7):
                stream = pipe.stream(iter(RAWS))
                for _ in range(count):
                    next(stream)
                stream.close()
                gc.collect()
            assert values(pipe(RAWS)) == WANTED
    cuda.check()


@pytest.mark.parametrize("compiled", [False, True])
def test_many_threads_and_two_replicas(compiled):
    with PretendCuda(devices=2) as cuda:
        pipes = [
            Pipeline(*placed(device=device), batch_size=4, compile=compiled, num_workers=1)
            for device in ("cuda:0", "cuda:1")
        ]
        got = {}

        def work(n):
            got[n] = values(pipes[n % 2](RAWS))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        futures = [pipes[i % 2].submit(raw) for i, raw in enumerate(RAWS)]
        submitted = values(future.result() for future in futures)
        for pipe in pipes:
            pipe.close()
    cuda.check()
    assert [got[n] == WANTED for n in range(6)] == [True] * 6
    assert submitted == WANTED


def test_an_index_out_of_range_ends_the_run():
    with PretendCuda():
        task, placement = placed()
        raws = [*RAWS[:20], {"series": [1.0], "question": 99}, *RAWS[20:]]
        with Pipeline(task, placement, batch_size=4, compile=False, num_workers=1) as pipe:
            got = []
            ended = pytest.raises(DeviceError, match="cuda:0 failed for good while inputs 20 to 23 ran")
            with ended as failed:
                for result in pipe.stream(iter(raws), on_error="return"):
                    got.append(result)
            assert "device-side assert" in str(failed.value.__cause__)
            with pytest.raises(DeviceError):
                pipe(RAWS[0])
    assert values(got) == pytest.approx([expected(raw) for raw in raws[: len(got)]], rel=1e-4)
    assert len(got) >= 16


class OnTheCpu(WindowScoring):
    """Its outputs lie on the CPU already, as those of a search that is stepped through."""

    def forward(self, batch, options, call):
        return super().forward(batch, options, call).cpu()


def test_outputs_that_lie_on_the_cpu():
    with PretendCuda() as cuda:
        task, placement = placed(OnTheCpu)
        with Pipeline(task, placement, batch_size=8, compile=False) as pipe:
            assert values(pipe(RAWS)) == WANTED
    cuda.check()


DEFECTS = {
    "outputs on the CPU are recorded on a stream": (
        PipelineRuntime,
        "decoding",
        "isinstance(tensor, torch.Tensor) and tensor.device == self._device",
        "isinstance(tensor, torch.Tensor)",
        test_outputs_that_lie_on_the_cpu,
    ),
    "times are asked of events that are not over": (
        _Flight,
        "measure",
        "self.ended.synchronize()",
        "pass",
        test_outputs_that_lie_on_the_cpu,
    ),
    "a graph is captured on another device's stream": (
        GraphPool,
        "capture",
        "torch.cuda.stream(self._stream)",
        "torch.cuda.stream(torch.cuda.Stream(0))",
        test_graphs_of_a_second_card_give_new_answers,
    ),
    "a dead context is each input's fault": (
        PipelineRuntime,
        "lost",
        "return True",
        "return False",
        test_an_index_out_of_range_ends_the_run,
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_put_back_is_noticed(name, monkeypatch):
    owner, method, old, new, test = DEFECTS[name]
    monkeypatch.setattr(owner, method, mutated(getattr(owner, method), old, new))
    with pytest.raises((Exception, pytest.fail.Exception)):  # a wrong answer, a fault, or an error
        test()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_capture_without_care_is_noticed(version, monkeypatch):
    """`torch.cuda.graph` instead of ours: the thread stays on its stream, and the allocator in the capture."""

    def careless(self, key, function, args):
        try:
            with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
                function(*args)
        except RuntimeError as error:
            return f"refused: {error}"
        raise AssertionError("it cannot be captured")

    monkeypatch.setattr(GraphPool, "capture", careless)
    with pytest.raises(AssertionError, match="current_stream"):
        test_a_refused_capture_leaves_thread_allocator_and_generator_as_they_were(version)
