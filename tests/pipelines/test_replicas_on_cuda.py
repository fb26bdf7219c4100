"""One pipeline on several CUDA devices, on the pretend one: streams, graphs, memory, and devices that fail for good."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch

from sensorium.errors import DeviceError
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from tests.pipelines.made_up import Scorer, WindowScoring, expected
from tests.pretend_cuda import PretendCuda

RAWS = [{"series": [1.0, 2.0, float(i)], "question": i % 8} for i in range(96)]
PATIENCE_S = 120


class Beside(Scorer):
    """A model whose first call waits until its neighbour's has begun, so that both devices work at once."""

    def __init__(self, met: threading.Barrier) -> None:
        super().__init__()
        self.met: threading.Barrier | None = met

    def forward(self, window, question):
        met, self.met = self.met, None
        if met is not None:
            met.wait(PATIENCE_S)
        return super().forward(window, question)


def opened(devices=2, **settings):
    # one at a time compiles: there nobody can be met
    met = threading.Barrier(1 if settings.get("compile") else devices)
    tasks = [WindowScoring(Beside(met)) for _ in range(devices)]
    for number, task in enumerate(tasks):
        task.runtime.place(torch.device("cuda", number))
    settings = {"batch_size": 8, "compile": False, "num_workers": 1, **settings}
    return Pipeline(tasks[0], Placement(torch.device("cuda", 0), torch.float32), copies=tasks[1:], **settings)


def check(raws, results):
    assert [result.index for result in results] == list(range(len(raws)))
    assert [result.value for result in results] == pytest.approx([expected(raw) for raw in raws], rel=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_both_work_at_once_without_a_race(compiled):
    with PretendCuda(devices=2) as cuda, opened(compile=compiled) as pipe:
        if compiled:
            pipe.warmup()
        for _ in range(2):
            check(RAWS, pipe(RAWS))
            check(RAWS, list(pipe.stream(iter(RAWS))))
        stats = pipe.stats()
        assert all(device["batches"] for device in stats["devices"])
        assert [device["device"] for device in stats["devices"]] == ["cuda:0", "cuda:1"]
        assert stats["recompiles"] == 0
        if compiled:
            assert {entry["graph"] for entry in stats["compiled"]} == {"captured"}
            assert cuda.graphs_replayed
    cuda.check()


def test_calls_of_several_threads_share_both():
    got = {}
    with PretendCuda(devices=2) as cuda, opened() as pipe:

        def work(n):
            got[n] = pipe(RAWS)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        futures = [pipe.submit(raw) for raw in RAWS]
        got[3] = [future.result(PATIENCE_S) for future in futures]
    for n in range(3):
        check(RAWS, got[n])
    assert [result.value for result in got[3]] == pytest.approx([expected(raw) for raw in RAWS], rel=1e-4)
    cuda.check()


@pytest.mark.parametrize("stage", ["allocation", "copy", "operation"])
def test_memory_may_run_out_on_either(stage):
    for nth in (1, 2, 5, 11, 23):
        with PretendCuda(devices=2) as cuda, opened() as pipe:
            cuda.fail_at(nth, stage)
            check(RAWS, pipe(RAWS))
            assert pipe.stats()["failures"] == 0
        cuda.check()


def test_a_device_that_is_lost_costs_no_input_and_no_other_device():
    with PretendCuda(devices=3) as cuda, opened(3) as pipe:
        check(RAWS, pipe(RAWS))
        cuda.lose(1)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(3):
                check(RAWS, list(pipe.stream(RAWS)))
        assert [str(each.message).split(" while ")[0] for each in told] == ["cuda:1 failed for good"]
        assert "2 of 3 devices go on" in str(told[0].message)
        assert [device["lost"] for device in pipe.stats()["devices"]] == [False, True, False]
        assert pipe.stats()["failures"] == 0
    cuda.check()


@pytest.mark.filterwarnings("ignore:cuda:RuntimeWarning")
def test_what_ends_all_of_them_ends_the_run_with_its_cause():
    raws = [*RAWS[:40], {"series": [1.0], "question": 8}, *RAWS[41:]]
    got = []
    with PretendCuda(devices=2) as cuda, opened() as pipe:
        with pytest.raises(DeviceError, match=r"cuda:\d failed for good while inputs") as failed:
            got.extend(pipe.stream(raws, on_error="return"))
        assert "device-side assert" in str(failed.value.__cause__)
        with pytest.raises(DeviceError):
            pipe(RAWS[0])
    assert cuda.dead
    check(raws[: len(got)], got)


def test_leaving_a_stream_leaves_no_fault():
    with PretendCuda(devices=2) as cuda, opened() as pipe:
        stream = pipe.stream(RAWS * 20)
        assert next(stream).value == pytest.approx(expected(RAWS[0]), rel=1e-4)
        stream.close()
        check(RAWS, pipe(RAWS))
    cuda.check()
