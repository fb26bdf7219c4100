"""Every task's contract on a pretend CUDA device: the CPU's answers, no fault, and no more waits of the host."""

from __future__ import annotations

import functools
import threading

import pytest
import torch

from tests.pretend_cuda import PretendCuda
from tests.test_contract import SESSIONS, TASKS, assert_alike, contract_of

WAITS = {
    "audio-classification": 1.0,
    "audio-retrieval": 2.14,
    "automatic-speech-recognition": 17.33,
    "depth-estimation": 1.0,
    "feature-extraction": 1.0,
    "image-classification": 1.0,
    "image-feature-extraction": 1.42,
    "image-to-image": 1.0,
    "image-matting": 1.0,
    "image-retrieval": 2.0,
    "image-segmentation": 1.33,
    "keypoint-detection": 2.8,
    "keypoint-matching": 7.83,
    "mask-generation": 3.5,
    "object-detection": 1.13,
    "pose-estimation": 1.22,
    "question-answering": 1.0,
    "retrieval": 1.8,
    "retrieval-qa": 2.0,
    "surface-normals": 1.0,
    "text-ranking": 1.0,
    "video-classification": 1.0,
    "video-mask-generation": 2.38,
    "visual-question-answering": 1.0,
    "zero-shot-image-classification": 1.22,
    "zero-shot-object-detection": 2.22,
}
"""How many times the host waits for the device in a batch of two, with today's inputs and options of the contract.

Each wait leaves the device without work until the next launch. A number here may only become smaller.
"""

FEW = {"automatic-speech-recognition": 1}
"""Of how many of its inputs a contract is run here, where each of them takes tens of thousands of operations."""

LONG = {"automatic-speech-recognition", "keypoint-matching", "mask-generation"}


def seldom(names, long):
    """The names, of which the long ones run when slow tests are asked for."""
    return [pytest.param(name, marks=pytest.mark.slow if name in long else ()) for name in names]


@functools.cache
def on_the_cpu(name):
    """Inputs of a task's contract, its sets of options, and the CPU's results for each of these."""
    contract = contract_of(name)
    inputs, options = list(contract.inputs())[: FEW.get(name)], [{}, *contract.options]
    with contract.build(device="cpu", compile=False) as pipe:
        return inputs, options, [pipe(inputs, **chosen) for chosen in options]


def check_results(name, pipe, *, rounds=1):
    inputs, sets, want = on_the_cpu(name)
    for options, expected in zip(sets, want, strict=True):
        for _ in range(rounds):
            for a, b in zip(pipe(inputs, **options), expected, strict=True):
                assert_alike(a.to_dict(), b.to_dict(), contract_of(name))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_equals_the_cpu_and_waits_no_more(name):
    on_the_cpu(name)
    with PretendCuda() as cuda, contract_of(name).build(device="cuda", compile=False, batch_size=2) as pipe:
        cuda.waits.clear()
        check_results(name, pipe)
        waits = round(cuda.waits.total() / pipe.stats()["batches"], 2)
    cuda.check()
    # how many steps a search takes may differ by rounding, from chip to chip
    assert waits <= 1.1 * WAITS[name], f"{waits} waits a batch, of which\n{cuda.waits_text()}"
    assert waits >= 0.8 * WAITS[name], f"fewer waits, well done: WAITS[{name!r}] is {waits} now"


@pytest.mark.parametrize("name", seldom(TASKS, LONG))
def test_every_task_equals_the_cpu_recorded_uncompiled(name, monkeypatch):
    on_the_cpu(name)
    monkeypatch.setattr(torch, "compile", None)
    with PretendCuda(devices=3) as cuda:
        with contract_of(name).build(device="cuda:2", compile="cudagraphs", batch_size=2) as pipe:
            check_results(name, pipe, rounds=2)
            assert {entry["mode"] for entry in pipe.stats()["compiled"]} == {"cudagraphs"}
        assert torch.cuda.max_memory_allocated(0) == 0  # an encoder that tests share lies on another device
    cuda.check()
    assert cuda.counts["refused captures"] == 0
    assert cuda.graphs_replayed


@pytest.mark.parametrize("name", seldom(TASKS, LONG))
def test_every_task_equals_the_cpu_compiled_on_the_second_device(name):
    on_the_cpu(name)
    with PretendCuda(devices=2) as cuda:
        with contract_of(name).build(device="cuda:1", compile=True, batch_size=2) as pipe:
            check_results(name, pipe, rounds=2)  # the second time through the captured graphs
            assert pipe.stats()["recompiles"] == 0
        assert torch.cuda.max_memory_allocated(0) == 0
    cuda.check()
    assert cuda.counts["refused captures"] == 0, "a model that waits for the device is launched kernel by kernel"
    assert cuda.graphs_replayed


@pytest.mark.parametrize("name", ["image-classification", "question-answering"])
def test_a_task_on_two_devices_at_once(name):
    on_the_cpu(name)
    build, right = contract_of(name).build, []

    def work(pipe):
        check_results(name, pipe, rounds=2)
        right.append(pipe)

    with (
        PretendCuda(devices=2) as cuda,
        build(device="cuda:0", compile=True, batch_size=2) as one,
        build(device="cuda:1", compile=True, batch_size=2) as other,
    ):
        threads = [threading.Thread(target=work, args=(pipe,)) for pipe in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(right) == 2
    cuda.check()


ON_BOTH = [
    "image-classification",
    "object-detection",
    "question-answering",
    "retrieval-qa",
    "zero-shot-image-classification",
]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ON_BOTH)
def test_one_pipeline_on_two_devices_waits_no_more(name, compiled):
    on_the_cpu(name)
    with (
        PretendCuda(devices=2) as cuda,
        contract_of(name).build(device=["cuda:0", "cuda:1"], compile=compiled, batch_size=2) as pipe,
    ):
        assert [str(device) for device in pipe.devices] == ["cuda:0", "cuda:1"]
        cuda.waits.clear()
        check_results(name, pipe, rounds=1 + compiled)
        stats = pipe.stats()
        waits = round(cuda.waits.total() / stats["batches"], 2)
        assert stats["recompiles"] == stats["failures"] == 0
        assert all(torch.cuda.memory_allocated(device) for device in range(2))
    cuda.check()
    # an encoding of labels, or a capture, waits once for each device
    assert compiled or waits <= 1.1 * WAITS[name] + 0.5, f"{waits} waits a batch, of which\n{cuda.waits_text()}"


@pytest.mark.parametrize("name", seldom(SESSIONS, {"mask-generation"}))
def test_sessions_of_another_stream_are_asked_from_threads_beside_calls(name):
    contract = contract_of(name)
    opened, got = contract.opened, []
    build = opened.build or contract.build
    with build(device="cpu", compile=False) as pipe:
        want = opened.call(pipe)
    with PretendCuda() as cuda, build(device="cuda", compile=False) as pipe:
        with torch.cuda.stream(torch.cuda.Stream()):
            session = pipe._engine.sessions.open(opened.raw())
        with session:
            asking, calling = (lambda: opened.ask(session, pipe)), (lambda: opened.call(pipe))
            threads = [threading.Thread(target=lambda do=do: got.append(do())) for do in (asking, calling) * 2]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    cuda.check()
    assert len(got) == len(threads)
    for each in got:
        assert_alike(each, want, contract)
