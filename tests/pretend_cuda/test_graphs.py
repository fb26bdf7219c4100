"""The pretend device's graphs: what a capture holds, what refuses it, and what it leaves behind."""

from __future__ import annotations

import gc
import threading

import pytest
import torch

from tests.pretend_cuda import PretendCuda

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def cuda():
    with PretendCuda(devices=2) as cuda, torch.inference_mode():
        yield cuda


def captured(function, **settings):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, **settings):
        out = function()
    return graph, out


def test_a_graph_replays_with_what_its_inputs_hold(cuda):
    x, weight = torch.ones(2, 2, device="cuda"), torch.randn(2, 2, device="cuda")
    graph, out = captured(lambda: (x @ weight).relu().add_(1))
    for value in (2.0, -3.0):
        x.copy_(torch.full((2, 2), value))
        graph.replay()
        torch.testing.assert_close(out.cpu(), (torch.full((2, 2), value) @ weight.cpu()).relu() + 1)
    assert (cuda.graphs_captured, cuda.graphs_replayed) == (1, 2)
    cuda.check()


def test_what_is_captured_does_not_run(cuda):
    x = torch.zeros(3, device="cuda")
    graph, _ = captured(lambda: x.add_(1))
    assert x.tolist() == [0, 0, 0]
    graph.replay()
    graph.replay()
    assert x.tolist() == [2, 2, 2]
    cuda.check()


def test_an_index_is_asserted_in_a_replay_too(cuda):
    table, index = torch.randn(3, 2, device="cuda"), torch.zeros(1, dtype=torch.long, device="cuda")
    graph, _ = captured(lambda: table[index])
    index.fill_(3)
    with pytest.raises(RuntimeError, match="device-side assert triggered"):
        graph.replay()
    assert cuda.dead


def test_results_are_there_after_a_replay_only(cuda):
    x = torch.zeros(3, device="cuda")
    graph, out = captured(lambda: x + 1)
    out.cpu()
    assert "before the graph that gives it was replayed" in cuda.faults[0].text
    cuda.faults.clear()
    graph.replay()
    out.cpu()
    cuda.check()


def test_an_input_that_was_let_go_is_a_fault(cuda):
    inputs = [torch.zeros(3, device="cuda")]
    graph, _ = captured(lambda: inputs[0] + 1)
    graph.replay()
    cuda.check()
    inputs.clear()
    graph.replay()
    assert [fault.kind for fault in cuda.faults] == ["graph"]


def test_what_runs_on_another_device_makes_an_empty_graph(cuda):
    x = torch.zeros(3, device="cuda:1")
    with pytest.warns(UserWarning, match="The CUDA Graph is empty"):
        graph, out = captured(lambda: x + 1)
    x.add_(5)
    cuda.check()
    graph.replay()
    assert ["an empty graph is replayed" in fault.text for fault in cuda.faults] == [True]
    assert out.tolist() == [1, 1, 1]
    cuda.faults.clear()
    with torch.cuda.device(1):
        stream = torch.cuda.Stream()
    graph, out = captured(lambda: x + 1, stream=stream)
    graph.replay()
    assert out.tolist() == [6, 6, 6]
    assert torch.cuda.current_device() == 0
    cuda.check()


def test_replays_are_ordered_like_operations(cuda):
    x, side = torch.zeros(3, device="cuda"), torch.cuda.Stream()
    graph, out = captured(lambda: x + 1)
    x.add_(1)
    with torch.cuda.stream(side):
        graph.replay()
    assert {fault.kind for fault in cuda.faults} == {"race"}
    cuda.faults.clear()
    out.cpu()
    assert {fault.kind for fault in cuda.faults} == {"race"}


def test_graphs_of_one_pool_write_over_each_other_s_results(cuda):
    x, pool = torch.zeros(3, device="cuda"), torch.cuda.graph_pool_handle()
    first, one = captured(lambda: x + 1, pool=pool)
    second, two = captured(lambda: x + 2, pool=pool)
    assert first.pool() == second.pool() == pool
    first.replay()
    second.replay()
    assert (one.tolist(), two.tolist()) == ([1] * 3, [2] * 3)
    cuda.check()
    first.replay()
    two.cpu()
    assert [fault.kind for fault in cuda.faults] == ["graph"]
    assert "was replayed" in cuda.faults[0].text


WAITS = {
    "item": lambda x: x.sum().item(),
    "mask": lambda x: x[x > 0],
    "synchronize": lambda x: torch.cuda.synchronize(),
    "stream": lambda x: torch.cuda.current_stream().synchronize(),
    "event of another stream": lambda x: torch.cuda.current_stream().wait_event(OTHER[0]),
}
OTHER = []


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("version", [(2, 11), (2, 13)])
def test_a_wait_ends_the_capture_and_torch_leaves_its_stream_current(name, version):
    with PretendCuda(torch_version=version) as cuda, torch.inference_mode():
        x = torch.ones(3, device="cuda")
        OTHER[:] = [torch.cuda.current_stream().record_event()]
        before, graph, pool = torch.cuda.current_stream(), torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        capture = torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")
        failed = pytest.raises(RuntimeError, match="operation failed due to a previous error during capture")
        with failed as error, capture:
            WAITS[name](x)
        assert "CUDA error" in str(error.value.__context__)
        assert cuda.counts["refused captures"] == 1
        assert torch.cuda.current_stream() is not before  # as in torch.cuda.graph.__exit__
        torch.cuda.set_stream(before)
        if version < (2, 13):
            with pytest.raises(RuntimeError, match="Offset increment outside graph capture"):
                x.normal_()
            generator = torch.cuda.default_generators[0]
            generator.graphsafe_set_state(generator.clone_state())
        x.uniform_().fill_(1)
        with pytest.raises(RuntimeError, match="without a preceding successful capture"):
            graph.replay()
        if version < (2, 13):
            with pytest.raises(RuntimeError, match="already recording to mempool_id"):
                captured(lambda: x + 1, pool=pool)
            torch.cuda.set_stream(before)
            torch._C._cuda_endAllocateToPool(0, pool)
        with pytest.raises(RuntimeError, match="not currently recording to mempool_id"):
            torch._C._cuda_endAllocateToPool(0, pool)
        torch._C._cuda_releasePool(0, pool)
        with pytest.raises(RuntimeError, match="releasePool"):
            torch._C._cuda_releasePool(0, pool)
        graph, out = captured(lambda: x + 1, pool=pool)
        graph.replay()
        assert out.tolist() == [2] * 3


def test_python_s_own_errors_end_a_capture_well(cuda):
    x, before = torch.ones(3, device="cuda"), torch.cuda.current_stream()
    for wrong in (lambda: x + torch.ones(4, device="cuda"), lambda: torch.ones(3).to("cuda"), lambda: {}["no"]):
        with pytest.raises((RuntimeError, KeyError)):
            captured(lambda wrong=wrong: (x + 1, wrong()))
        assert torch.cuda.current_stream() is before
        assert not cuda.recordings
    assert cuda.counts["refused captures"] == 0


def test_captures_begun_and_ended_by_hand(cuda):
    x, graph, side = torch.ones(3, device="cuda"), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with pytest.raises(RuntimeError, match="non-default stream"):
        graph.capture_begin()
    with pytest.raises(RuntimeError, match="before capture_begin"):
        graph.capture_end()
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
        graph.pool()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        graph.capture_begin(capture_error_mode="thread_local")
        assert torch.cuda.is_current_stream_capturing()
        out = x * 3
        with torch.cuda.stream(torch.cuda.Stream()), pytest.raises(RuntimeError, match="must end on the same stream"):
            graph.capture_end()
        graph.capture_end()
        with pytest.raises(RuntimeError, match="already owns a captured graph"):
            graph.capture_begin()
    assert not torch.cuda.is_current_stream_capturing()
    graph.replay()
    assert out.tolist() == [3] * 3
    cuda.check()


@pytest.mark.parametrize("mode", ["global", "thread_local", "relaxed"])
def test_waits_of_other_threads(cuda, mode):
    x, seen = torch.ones(3, device="cuda"), {}

    def work():
        try:
            seen["sum"] = torch.ones(2, device="cuda").sum().item()
        except RuntimeError as error:
            seen["error"] = error

    def function():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return x + 1

    before = torch.cuda.current_stream()
    if mode == "global":
        with pytest.raises(RuntimeError, match="previous error during capture"):
            captured(function, capture_error_mode=mode)
        assert "not permitted when stream is capturing" in str(seen["error"])
        torch.cuda.set_stream(before)
    else:
        captured(function, capture_error_mode=mode)
        assert seen == {"sum": 2}


def test_a_device_is_not_waited_for_while_one_of_its_streams_captures(cuda):
    x, errors = torch.ones(3, device="cuda"), []

    def work():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            errors.append(error)

    def function():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return x + 1

    with pytest.raises(RuntimeError, match="previous error"):
        captured(function, capture_error_mode="relaxed")
    assert errors


def test_a_graph_gives_its_pool_back(cuda):
    x = torch.ones(1000, device="cuda")
    alive = cuda.bytes_alive()
    graph, out = captured(lambda: (x + 1).mul(2).sum())
    assert cuda.bytes_alive() - alive >= 2 * 4000, "what it needs between its first and its last operation stays taken"
    assert torch.cuda.memory_allocated() - alive < 4000
    del out
    graph.reset()
    del graph
    gc.collect()
    assert cuda.bytes_alive() == alive
