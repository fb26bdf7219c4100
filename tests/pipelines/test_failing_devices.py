"""What a run does when its device fails: out of memory while another batch is under way, or for good."""

from __future__ import annotations

import threading
import weakref

import pytest
import torch

from sensorium.errors import DeviceError
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from sensorium.pipelines.precision import FullFloat32
from sensorium.pipelines.runtime import PipelineRuntime
from tests.pipelines.made_up import WindowScoring, expected

CPU = Placement(torch.device("cpu"), torch.float32)


@pytest.fixture
def overlapping(monkeypatch):
    """Batches are decoded while the next one runs, as on CUDA."""
    monkeypatch.setattr(PipelineRuntime, "overlaps", True)


class Watching(WindowScoring):
    """Has no memory for its second batch, and notes the outputs that are alive when memory is given back."""

    def __init__(self):
        super().__init__()
        self.outputs = weakref.WeakSet()
        self.batches = 0

    def forward(self, batch, options, call):
        self.batches += 1
        if self.batches == 2:
            raise torch.OutOfMemoryError("the second batch does not fit")
        outputs = super().forward(batch, options, call)
        self.outputs.add(outputs)
        return outputs


def test_the_batch_before_is_landed_before_one_that_did_not_fit_runs_again(overlapping, monkeypatch):
    task, alive = Watching(), []
    monkeypatch.setattr(PipelineRuntime, "release", lambda self: alive.append(len(task.outputs)))
    raws = [{"series": [1.0, i], "question": 1} for i in range(12)]
    with Pipeline(task, CPU, compile=False, batch_size=4, num_workers=1) as pipe:
        results = pipe(raws)
    assert alive == [0], "outputs of the batch before, which is still under way, take room"
    for raw, result in zip(raws, results, strict=True):
        assert result.value == pytest.approx(expected(raw), rel=1e-5)


def test_a_device_that_fails_for_good_ends_the_run_with_its_cause(overlapping, monkeypatch):
    task = WindowScoring()
    task.model.fails_on = 5.0
    monkeypatch.setattr(PipelineRuntime, "lost", lambda self: True)
    raws = [{"series": [float(i)] * 4, "question": 1} for i in range(9)]
    got = []
    with Pipeline(task, CPU, compile=False, batch_size=2, num_workers=1) as pipe:
        with pytest.raises(
            DeviceError, match=r"^cpu failed for good while inputs 4 to 5 ran.*in a new process"
        ) as failed:
            for result in pipe.stream(iter(raws), on_error="return"):
                got.append(result)
        assert isinstance(failed.value.__cause__, ValueError)
        future = pipe.submit(raws[5])
        assert isinstance(future.exception(), DeviceError)
    assert [result.value for result in got] == pytest.approx([expected(raw) for raw in raws[: len(got)]])
    assert len(got) >= 2


def test_without_a_device_that_can_be_lost_a_failure_is_one_inputs():
    assert not PipelineRuntime(WindowScoring(), False, None).lost()


@pytest.fixture
def tf32():
    torch.backends.cudnn.allow_tf32 = True  # torch's default
    yield
    torch.backends.fp32_precision = "none"
    torch.backends.cudnn.allow_tf32 = True


def test_convolutions_have_full_precision_while_anybody_needs_it(tf32):
    inside, leave, told = threading.Event(), threading.Event(), []

    def other():
        with FullFloat32():
            inside.set()
            leave.wait()
            told.append(torch.backends.cudnn.allow_tf32)

    thread = threading.Thread(target=other)
    with FullFloat32():
        thread.start()
        inside.wait()
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.allow_tf32, "the other thread is not done"
    leave.set()
    thread.join()
    assert told == [False]
    assert torch.backends.cudnn.allow_tf32


def test_what_the_user_has_set_is_left_alone(tf32):
    torch.backends.cudnn.allow_tf32 = False
    with FullFloat32():
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.rnn.fp32_precision = "tf32"
    with FullFloat32():
        assert torch.backends.cudnn.rnn.fp32_precision == "tf32"
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"


def test_tf32_for_everything_may_be_asked_for(tf32):
    torch.backends.fp32_precision = "tf32"
    with FullFloat32():
        assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
