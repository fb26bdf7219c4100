"""On a CUDA device: the same answers as the CPU's, in order, through copies, graphs and compiled batches."""

from __future__ import annotations

import dataclasses
import threading
from functools import partial

import numpy as np
import pytest
import torch

import sensorium
from sensorium.pipelines.graphs import GraphPool
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from sensorium.pipelines.transfer import RING, Uploader
from tests import tiny
from tests.cards import real_card
from tests.media import jpeg, make_image, make_images
from tests.pipelines.made_up import WindowScoring, expected
from tests.tasks.test_image_segmentation import assert_same
from tests.test_contract import SESSIONS, TASKS, assert_alike, contract_of
from tests.test_pretend_architectures import CASES, OFTEN

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]

both_modes = pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])


def scores(result, labels=7):
    row = np.zeros(labels)
    row[result.ids] = result.scores
    return row


def assert_equals_the_cpu(task, build, calls, *, compiled, device="cuda"):
    """What calls with these options give on the card is what they give on the CPU, the second time, too."""
    contract = contract_of(task)
    inputs = list(contract.inputs())
    with build(device="cpu", compile=False) as cpu:
        want = [cpu(inputs, **options) for options in calls]
    loose = dataclasses.replace(contract, tolerance=max(1e-3, contract.tolerance))  # other kernels, other roundings
    with build(device=device, compile=compiled, batch_size=2) as gpu:
        for _ in range(2 if compiled else 1):  # the second time through the captured graphs
            for options, expected_results in zip(calls, want, strict=True):
                got = gpu(inputs, **options)
                assert [result.index for result in got] == list(range(len(inputs)))
                for a, b in zip(got, expected_results, strict=True):
                    if task == "image-segmentation":  # pixels between two classes go to either, by rounding
                        assert_same(a, b)
                    else:
                        assert_alike(a.to_dict(), b.to_dict(), loose)
        assert gpu.stats()["recompiles"] == 0


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two cards")
@pytest.mark.parametrize("task", ["image-classification", "question-answering", "automatic-speech-recognition"])
@both_modes
def test_one_pipeline_on_two_cards_equals_the_cpu(task, compiled):
    contract = contract_of(task)
    calls = [{}, *contract.options]
    assert_equals_the_cpu(task, contract.build, calls, compiled=compiled, device=["cuda:0", "cuda:1"])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two cards")
def test_two_cards_share_a_stream_and_each_takes_its_part():
    folder, inputs = tiny.folder("vit"), make_images() * 100
    settings = {"dtype": "float32", "compile": False, "batch_size": 4}
    with (
        sensorium.pipeline("image-classification", folder, device="cpu", **settings) as cpu,
        sensorium.pipeline("image-classification", folder, device="all", **settings) as all_cards,
    ):
        want = cpu(inputs)
        got = list(all_cards.stream(iter(inputs)))
        assert len(all_cards.devices) == torch.cuda.device_count()
        assert all(device["batches"] for device in all_cards.stats()["devices"])
    assert [result.index for result in got] == list(range(len(inputs)))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(scores(a), scores(b), atol=1e-3)


@pytest.mark.parametrize("architecture", ["vit", "resnet", "convnext", "swin", "dinov2"])
@both_modes
def test_cuda_equals_the_cpu(architecture, compiled):
    folder, inputs = tiny.folder(architecture), make_images() * 5
    with sensorium.pipeline(model=folder, device="cpu", dtype="float32", compile=False) as cpu:
        want = cpu(inputs, top_k=None)
    with sensorium.pipeline(model=folder, device="cuda", dtype="float32", compile=compiled, batch_size=4) as gpu:
        for _ in range(2):  # the second time through the captured graphs
            got = gpu(inputs, top_k=None)
            assert [r.index for r in got] == list(range(len(inputs)))
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(scores(a), scores(b), atol=1e-4)
        assert gpu.stats()["recompiles"] == 0


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("compiled", [False, True, "cudagraphs"], ids=["eager", "compiled", "recorded"])
def test_every_task_on_cuda_equals_the_cpu(name, compiled):
    contract = contract_of(name)
    assert_equals_the_cpu(name, contract.build, [{}, *contract.options], compiled=compiled)


def architectures():
    """Each of them eagerly, and the more peculiar ones compiled; where only these are wanted, the others are slow."""
    for case in CASES:
        often = case[1] in OFTEN
        yield pytest.param(case, False, id=f"eager-{' '.join(case)}", marks=() if often else pytest.mark.slow)
        if often:
            yield pytest.param(case, True, id=f"compiled-{' '.join(case)}")


@pytest.mark.parametrize(("case", "compiled"), architectures())
def test_every_architecture_on_cuda_equals_the_cpu(case, compiled):
    (task, _), (folder, options) = case, CASES[case]
    build = partial(sensorium.pipeline, task, folder(), dtype="float32")
    assert_equals_the_cpu(task, build, [options], compiled=compiled)


@pytest.mark.parametrize("name", ["image-classification", "automatic-speech-recognition", "mask-generation"])
@both_modes
def test_a_task_on_the_second_card_equals_the_cpu(name, compiled):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    assert_equals_the_cpu(name, contract_of(name).build, [{}], compiled=compiled, device="cuda:1")


@real_card
def test_bfloat16_drift():
    folder = tiny.folder("vit")
    with sensorium.pipeline(model=folder, device="cpu", dtype="float32", compile=False) as cpu:
        want = cpu(make_images(), top_k=None)
    with sensorium.pipeline(model=folder, device="cuda", dtype="bfloat16", compile=False) as gpu:
        for a, b in zip(gpu(make_images(), top_k=None), want, strict=True):
            np.testing.assert_allclose(scores(a), scores(b), atol=2e-2)


@real_card
def test_pictures_decoded_on_the_card():
    """nvJPEG's pixels are not libjpeg's, but near to them."""
    pictures = [jpeg(64 + 9 * i, 90 - 6 * i, i) for i in range(9)]
    folder = tiny.folder("vit")
    settings = {"model": folder, "device": "cuda", "dtype": "float32", "compile": False}
    with sensorium.pipeline(**settings) as cpu, sensorium.pipeline(**settings, decode="cuda", num_workers=4) as gpu:
        for a, b in zip(gpu(pictures * 8, top_k=None), cpu(pictures * 8, top_k=None), strict=True):
            np.testing.assert_allclose(scores(a), scores(b), atol=3e-2)
        assert gpu.stats()["decoded_on_device"] == 72, "no JPEG of Pillow's is refused"


def test_many_batches_through_the_ring_of_pinned_buffers():
    task = WindowScoring()
    device = torch.device("cuda", 0)
    task.model.to(device)
    raws = [{"series": list(range(i % 37)), "question": i % 8} for i in range(500)]
    with Pipeline(task, Placement(device, torch.float32), batch_size=8, compile=False) as pipe:
        results = pipe(raws)
    for raw, result in zip(raws, results, strict=True):
        assert result.value == pytest.approx(expected(raw), rel=1e-4, abs=1e-3)


def test_a_pinned_buffer_is_not_written_while_it_is_copied():
    task, device = WindowScoring(), torch.device("cuda", 0)
    upload = Uploader(device)
    batches = []
    for i in range(4 * RING):
        units = list(task.split({"series": [float(i)] * 4 * 64, "question": 1}, task.options()))
        batches.append(upload(task, units))
    torch.cuda.synchronize()
    for i, batch in enumerate(batches):
        assert (batch["window"] == i).all()


def test_a_graph_replays_with_new_inputs():
    device = torch.device("cuda", 0)
    weight = torch.randn(16, 16, device=device)

    def function(x):
        return {"y": x @ weight}

    pool = GraphPool(device)
    first, second = (torch.randn(4, 16, device=device) for _ in range(2))
    pool.capture("key", function, (first,))
    assert not pool.refused
    got = [pool.replay("key", (x,))["y"] for x in (first, second)]
    for x, y in zip((first, second), got, strict=True):
        torch.testing.assert_close(y, x @ weight)
    assert pool.replay("other", (first,)) is None


def test_out_of_memory_goes_on_with_smaller_batches():
    task = WindowScoring()
    task.model.to("cuda")
    task.model.fits_rows = 3
    raws = [{"series": [1.0, 2.0, 3.0, i], "question": 1} for i in range(40)]
    with Pipeline(task, Placement(torch.device("cuda", 0), torch.float32), batch_size=16, compile=False) as pipe:
        results = pipe(raws)
        assert pipe.stats()["batch_size"] <= 3
    for raw, result in zip(raws, results, strict=True):
        assert result.value == pytest.approx(expected(raw), rel=1e-4)


def test_threads_share_a_compiled_pipeline():
    with sensorium.pipeline(model=tiny.folder("vit"), device="cuda", compile=True, batch_size=4) as pipe:
        want = pipe(make_image())
        got = {}

        def work(n):
            got[n] = pipe([make_image()] * 9)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for results in got.values():
        for result in results:
            np.testing.assert_allclose(scores(result), scores(want), atol=1e-2)


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_of_another_stream_is_asked_from_threads_beside_calls(name):
    contract = contract_of(name)
    opened, got = contract.opened, []
    loose = dataclasses.replace(contract, tolerance=max(1e-3, contract.tolerance))
    with (opened.build or contract.build)(device="cuda", compile=False) as pipe:
        want = opened.call(pipe)
        with torch.cuda.stream(torch.cuda.Stream()):
            session = pipe._engine.sessions.open(opened.raw())
        with session:
            asking, calling = (lambda: opened.ask(session, pipe)), (lambda: opened.call(pipe))
            threads = [threading.Thread(target=lambda do=do: got.append(do())) for do in (asking, calling) * 4]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(got) == len(threads)
    for each in got:
        assert_alike(each, want, loose)
