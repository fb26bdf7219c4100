"""The pretend device's order: what races, what is let go too early, and pinned memory."""

from __future__ import annotations

import sys
import threading

import pytest
import torch

from tests.pretend_cuda import PretendCuda


@pytest.fixture
def cuda():
    with PretendCuda() as cuda, torch.inference_mode():
        yield cuda


@pytest.fixture
def side(cuda):
    return torch.cuda.Stream()


def kinds(cuda):
    return {fault.kind for fault in cuda.faults}


def test_reading_what_another_stream_writes_is_a_race(cuda, side):
    x = torch.ones(3, device="cuda")
    with torch.cuda.stream(side):
        x + 1
    assert kinds(cuda) == {"race"}
    with pytest.raises(AssertionError, match=r"1 faults.*\n.*race: add on stream \d+ reads what stream \d+ may still"):
        cuda.check()


def test_writing_what_another_stream_reads_is_a_race(cuda, side):
    x = torch.ones(3, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x + 1
    cuda.check()
    x.add_(1)
    assert kinds(cuda) == {"race"}
    assert "overwrites what stream" in cuda.faults[0].text


def host_waits(side):
    torch.cuda.current_stream().synchronize()


def stream_waits(side):
    side.wait_stream(torch.cuda.current_stream())


def event_is_waited_for(side):
    event = torch.cuda.Event()
    event.record()
    event.wait(side)


def event_is_asked_until_over(side):
    event = torch.cuda.current_stream().record_event()
    assert [event.query(), event.query()] == [False, True]


def stream_is_asked_until_done(side):
    assert [torch.cuda.current_stream().query() for _ in range(3)] == [False, True, True]


def another_stream_passes_it_on(side):
    third = torch.cuda.Stream()
    third.wait_stream(torch.cuda.current_stream())
    side.wait_event(third.record_event())


ORDERS = [
    host_waits,
    stream_waits,
    event_is_waited_for,
    event_is_asked_until_over,
    stream_is_asked_until_done,
    another_stream_passes_it_on,
]


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_waited_for_is_no_race(cuda, side, order):
    x = torch.ones(3, device="cuda")
    order(side)
    with torch.cuda.stream(side):
        y = x + 1
    torch.cuda.current_stream().wait_stream(side)
    y.add_(1)
    cuda.check()


def test_an_event_from_before_does_not_order(cuda, side):
    event = torch.cuda.current_stream().record_event()
    x = torch.ones(3, device="cuda")
    side.wait_event(event)
    with torch.cuda.stream(side):
        x.sum()
    assert kinds(cuda) == {"race"}


@pytest.mark.parametrize("recorded", [False, True])
def test_memory_let_go_while_another_stream_uses_it(cuda, side, recorded):
    x = torch.ones(3, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x.sum()
    view = x.view(1, 3)
    if recorded:
        view.record_stream(side)
    del x
    cuda.check()
    del view
    assert kinds(cuda) == (set() if recorded else {"free"})


def test_memory_may_go_when_its_stream_has_waited(cuda, side):
    x = torch.ones(3, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x.sum()
    torch.cuda.current_stream().wait_stream(side)
    del x
    cuda.check()


def test_only_cuda_tensors_can_be_recorded(cuda, side):
    with pytest.raises(NotImplementedError, match=r"aten::record_stream.*CPU"):
        torch.ones(3).record_stream(side)


def test_time_is_told_only_of_events_that_are_over(cuda):
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with pytest.raises(ValueError, match="must be recorded"):
        first.elapsed_time(last)
    first.record()
    torch.ones(3, device="cuda")
    last.record()
    with pytest.raises(RuntimeError, match="CUDA error: device not ready"):
        first.elapsed_time(last)
    last.synchronize()
    assert first.elapsed_time(last) > 0
    with pytest.raises(ValueError, match="enable_timing"):
        first.elapsed_time(torch.cuda.Event())


def pinned(*shape):
    return torch.zeros(shape, pin_memory=True)


def test_pinned_memory_is_not_written_while_it_is_copied(cuda):
    buffer = pinned(4)
    assert buffer.is_pinned()
    assert buffer[:2].is_pinned()
    assert not torch.zeros(4).is_pinned()
    buffer[:2].to("cuda", non_blocking=True)
    buffer.sum()
    cuda.check()
    buffer[2:].fill_(1)
    assert kinds(cuda) == {"pinned"}


def test_pinned_memory_may_be_written_after_its_copy(cuda):
    buffer, copied = pinned(4), torch.cuda.Event()
    for value in range(3):
        copied.synchronize()
        torch.full((4,), float(value), out=buffer)
        there = buffer.to("cuda", non_blocking=True)
        copied.record()
    assert there.tolist() == [2] * 4
    cuda.check()


def test_pinned_memory_is_not_written_by_out(cuda):
    buffer = pinned(2, 2)
    buffer.to("cuda", non_blocking=True)
    torch.stack([torch.ones(2)] * 2, out=buffer)
    assert kinds(cuda) == {"pinned"}


READS = {
    "tensor": lambda x: x + 1,
    "numpy": lambda x: x.numpy(),
    "tolist": lambda x: x.tolist(),
    "item": lambda x: x[0].item(),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("waited", [False, True])
def test_a_copy_to_the_host_without_waiting_is_not_read_at_once(cuda, read, waited):
    host = torch.ones(2, device="cuda").to("cpu", non_blocking=True)
    assert host.is_pinned()
    if waited:
        torch.cuda.current_stream().synchronize()
    READS[read](host)
    assert kinds(cuda) == (set() if waited else {"pinned"})


def test_a_copy_into_pinned_memory_goes_on_beside_the_host(cuda):
    target, pageable = pinned(2), torch.zeros(2)
    x = torch.ones(2, device="cuda")
    target.copy_(x, non_blocking=True)
    assert not cuda.waits
    pageable.copy_(x, non_blocking=True)  # CUDA itself waits for this one
    assert cuda.waits.total() == 1
    target.fill_(0)
    cuda.check()
    target.copy_(x, non_blocking=True)
    target.fill_(0)
    assert kinds(cuda) == {"pinned"}


def test_threads_see_what_the_host_has_waited_for(cuda, side):
    x = torch.ones(3, device="cuda")

    def work(wait):
        if wait:
            torch.cuda.synchronize()
        with torch.cuda.stream(side):
            x.sum()

    for wait, found in ((False, {"race"}), (True, {"race"})):
        thread = threading.Thread(target=work, args=(wait,))
        thread.start()
        thread.join()
        assert kinds(cuda) == found
    assert len(cuda.faults) == 1
    torch.cuda.synchronize()


def test_threads_that_launch_on_one_stream_do_not_race(cuda):
    """Their operations follow on each other, in whichever order they come: each has a number of its own."""
    stream, numbers = torch.cuda.current_stream(), []

    def work():
        numbers.extend(stream.tick() for _ in range(3000))

    threads = [threading.Thread(target=work) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that they come in each other's way
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert sorted(numbers) == list(range(1, 12_001))
