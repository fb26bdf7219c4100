"""The pretend device's tensors: what may meet, where the host waits, and what ends it."""

from __future__ import annotations

import copy
import re
import threading

import pytest
import torch
from torch import nn

from sensorium.pipelines.transfer import RING, Uploader
from tests.pipelines.made_up import WindowScoring
from tests.pretend_cuda import PretendCuda


@pytest.fixture
def cuda():
    with PretendCuda(devices=2) as cuda, torch.inference_mode():
        yield cuda


def waits(cuda):
    return [wait.what for wait in cuda.waits.elements()]


def test_it_comes_and_goes():
    torch_stream, run = torch.cuda.Stream, threading.Thread.run
    before = torch.cuda.is_available(), torch.Tensor.numpy, torch.compile
    with PretendCuda(devices=2):
        assert torch.cuda.is_available()
        assert torch.cuda.device_count() == 2
        with pytest.raises(RuntimeError, match="already"), PretendCuda():
            pass
        left = torch.ones(2, device="cuda")
    assert (torch.cuda.is_available(), torch.Tensor.numpy, torch.compile) == before
    assert torch.cuda.Stream is torch_stream
    assert threading.Thread.run is run
    assert "record_stream" not in vars(torch.Tensor)
    assert torch.ones(2).numpy().sum() == 2
    assert left.device == torch.device("cuda", 0)


def test_it_computes_what_the_cpu_does(cuda):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.LazyLinear(5)).eval()
    images = torch.randn(2, 3, 8, 8)
    want = model(images)
    model.to("cuda:1")
    assert {str(weight.device) for weight in model.parameters()} == {"cuda:1"}
    got = model(images.to("cuda:1"))
    assert str(got.device) == "cuda:1"
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), want)
    clone = copy.deepcopy(model)
    torch.testing.assert_close(clone(images.to("cuda:1")).cpu(), want)
    cuda.check()


def test_views_in_place_operations_and_attention(cuda):
    x, on = torch.arange(12.0).view(3, 4), "cuda"
    y = x.clone().to(on)
    y[1].add_(5)
    y[:, 0] = torch.zeros(3, device=on)
    x[1].add_(5)
    x[:, 0] = 0
    torch.testing.assert_close(y.cpu(), x)
    q = torch.randn(1, 2, 5, 8)
    want = nn.functional.scaled_dot_product_attention(q, q, q)
    torch.testing.assert_close(nn.functional.scaled_dot_product_attention(*[q.to(on)] * 3).cpu(), want)
    assert y.to(on) is not None
    assert y.tolist() == x.tolist()
    cuda.check()


def test_devices_do_not_mix(cuda):
    here, there, host = torch.ones(3, device="cuda:0"), torch.ones(3, device="cuda:1"), torch.ones(3)
    for mixed in (
        lambda: here + there,
        lambda: here + host,
        lambda: host * here,
        lambda: torch.cat([here, host]),
        lambda: here @ host,
        lambda: nn.functional.embedding(torch.zeros(3, dtype=torch.long), here[None]),
        lambda: host[torch.zeros(1, dtype=torch.long, device="cuda")],
        lambda: torch.where(here > 0, here, host),
    ):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            mixed()
    torch.testing.assert_close((here + torch.tensor(2.0) + 1).cpu(), torch.full((3,), 4.0))
    assert not waits(cuda)[1:]
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        here.numpy()
    with pytest.raises(RuntimeError, match="pin"):
        here.pin_memory()
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(1, device="cuda:2")


def test_copies_go_between_devices(cuda):
    there = torch.arange(3.0, device="cuda:0").to("cuda:1")
    assert str(there.device) == "cuda:1"
    back = torch.empty(3, device="cuda:0")
    back.copy_(there)
    assert not waits(cuda)
    assert back.cpu().tolist() == there.cpu().tolist() == [0, 1, 2]
    cuda.check()


WAITS = {
    "item": (lambda x: x.sum().item(), 1),
    "bool": (lambda x: bool((x > 0).all()), 1),
    "cpu": (lambda x: x.cpu(), 1),
    "tolist": (lambda x: x.tolist(), 1),
    "nonzero": (lambda x: x.nonzero(), 1),
    "mask": (lambda x: x[x > 1], 1),
    "set mask to tensor": (lambda x: x.index_put_((x > 1,), x[0] * 2), 1),
    "set mask to number": (lambda x: x.__setitem__(x > 1, 0.5), 0),
    "set indices to number": (lambda x: x.__setitem__((slice(None), torch.tensor([0], device="cuda")), 0.5), 2),
    "CPU index": (lambda x: x[torch.tensor([0, 1])], 1),
    "tensor": (lambda x: torch.tensor([1.0], device="cuda"), 1),
    "blocking copy": (lambda x: torch.ones(2).to("cuda"), 1),
    "copy without waiting": (lambda x: torch.ones(2).pin_memory().to("cuda", non_blocking=True), 0),
    "where": (lambda x: torch.where(x > 1, x, torch.tensor(0.0)), 1),
    "where with a number": (lambda x: torch.where(x > 1, x, 0.0), 0),
    "masked_fill": (lambda x: x.masked_fill(x > 1, 0.0), 0),
    "masked_fill with a tensor": (lambda x: x.masked_fill(x > 1, x[0, 0]), 1),
    "repeat_interleave": (lambda x: x.repeat_interleave(torch.ones(2, dtype=torch.long, device="cuda"), 0), 1),
    "slices": (lambda x: (x[:, 0], x[0], x.topk(1), x.argmax(1), x.new_zeros(2), x.to(torch.float16)), 0),
    "synchronize": (lambda x: torch.cuda.synchronize(), 1),
    "stream": (lambda x: torch.cuda.current_stream().synchronize(), 1),
    "event": (lambda x: torch.cuda.current_stream().record_event().synchronize(), 1),
}


@pytest.mark.parametrize("name", WAITS)
def test_the_host_s_waits_are_counted(cuda, name):
    run, count = WAITS[name]
    x = torch.arange(4, device="cuda").view(2, 2).float()
    assert not cuda.waits
    run(x)
    assert len(waits(cuda)) == count, cuda.waits_text()
    cuda.check()


def test_a_wait_for_what_is_over_is_none(cuda):
    x = torch.ones(3, device="cuda")
    event = torch.cuda.current_stream().record_event()
    x.cpu()
    assert len(waits(cuda)) == 1
    event.synchronize()
    torch.cuda.synchronize()
    assert len(waits(cuda)) == 1


def test_waits_are_located_in_sensorium(cuda):
    task, upload = WindowScoring(), Uploader(torch.device("cuda", 0))
    for _ in range(RING + 1):
        upload(task, list(task.split({"series": [1.0], "question": 1}, task.options())))
    ((wait, times),) = cuda.waits.items()
    assert (wait.what, times) == ("event.synchronize", 1)
    assert re.fullmatch(r"pipelines/transfer\.py:\d+ < pipelines/transfer\.py:\d+", wait.where)
    torch.ones(2, device="cuda").cpu()
    assert any(wait.where.startswith("test_devices.py:") for wait in cuda.waits)


def test_an_index_out_of_range_ends_the_context(cuda):
    table = torch.randn(4, 2, device="cuda")
    with pytest.raises(IndexError):
        nn.functional.embedding(torch.tensor([4]), torch.randn(4, 2))  # the CPU says which
    with pytest.raises(IndexError):
        table.select(0, 4)  # the host sees to it itself
    with pytest.raises(RuntimeError, match="device-side assert"):
        nn.functional.embedding(torch.tensor([4], device="cuda"), table)
    for late in (
        lambda: table + 1,
        torch.cuda.synchronize,
        table.cpu,
        lambda: torch.ones(2).to("cuda"),
        torch.cuda.Stream,
    ):
        with pytest.raises(RuntimeError, match="CUDA error: device-side assert triggered"):
            late()
    assert torch.ones(2).sum() == 2


def test_one_device_may_be_lost(cuda):
    here, there = torch.ones(2, device="cuda:0"), torch.ones(2, device="cuda:1")
    cuda.lose(1)
    for late in (lambda: there + 1, there.cpu, lambda: torch.cuda.synchronize(1), lambda: here.to("cuda:1")):
        with pytest.raises(RuntimeError, match="CUDA error: unspecified launch failure"):
            late()
    torch.cuda.synchronize(0)
    assert (here + 1).tolist() == [2, 2]


@pytest.mark.parametrize("operation", ["index", "gather", "index_select", "index_fill_"])
def test_other_indices_out_of_range_end_it_too(cuda, operation):
    x, wrong = torch.randn(4, 2, device="cuda"), torch.full((1,), 7, device="cuda")
    with pytest.raises(getattr(torch, "AcceleratorError", RuntimeError), match="device-side assert"):
        {
            "index": lambda: x[wrong],
            "gather": lambda: x.gather(0, wrong[None]),
            "index_select": lambda: x.index_select(0, wrong),
            "index_fill_": lambda: x.index_fill_(0, wrong, 0),
        }[operation]()
    assert cuda.dead


def test_a_tensor_of_numbers_on_the_device_waits_for_each(cuda):
    left, top = torch.arange(2, device="cuda:1")
    before = len(waits(cuda))
    made = torch.tensor([[left, top, 7]], device="cuda:1")
    assert len(waits(cuda)) - before >= 2
    assert made.device == torch.device("cuda", 1)
    assert made.tolist() == [[0, 1, 7]]
    assert torch.tensor([left, 2.5]).tolist() == [0, 2.5]
    with torch.device("meta"):
        assert torch.tensor([1.0]).is_meta


def test_threads_have_their_own_device_and_stream(cuda):
    seen = {}

    def work():
        seen["device"], seen["stream"] = torch.cuda.current_device(), torch.cuda.current_stream(0)
        seen["sum"] = torch.ones(3, device="cuda").sum().item()

    with torch.cuda.stream(torch.cuda.Stream("cuda:0")) as _, torch.cuda.device(1):
        assert torch.cuda.current_device() == 1
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert torch.cuda.current_device() == 0
    assert seen == {"device": 0, "stream": torch.cuda.default_stream(0), "sum": 3}
    cuda.check()


def test_compiled_functions_run_as_they_are_on_the_path_that_is_compiled(cuda):
    seen = []

    def function(x):
        seen.append(torch.compiler.is_compiling())
        return x + 1

    fast = torch.compile(function, dynamic=False)
    assert fast(torch.zeros(1, device="cuda")).item() == 1
    assert torch.compile(dynamic=False)(function)(torch.zeros(1)).item() == 1
    function(torch.zeros(1))
    assert seen == [True, True, False]


def test_a_tensor_without_memory_takes_none():
    with PretendCuda(devices=2):
        there = torch.ones(1000, device="cuda:1")
        assert there.to("meta").is_meta and there.to("meta").shape == (1000,)
        assert torch.cuda.max_memory_allocated(0) == 0
