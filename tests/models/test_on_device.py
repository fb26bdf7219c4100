"""Small values between the host and a device."""

from __future__ import annotations

import pytest
import torch

from sensorium.models import on_device
from sensorium.models.on_device import brought, kept, numbers_sent, sent
from tests.host_waits import Calls, SaysCuda, says_cuda


def test_what_is_sent_is_a_tensor_of_the_wanted_dtype():
    cpu = torch.device("cpu")
    assert sent([[1, 2], [3, 4]], cpu).equal(torch.tensor([[1, 2], [3, 4]]))
    assert sent((0.5, 2), cpu, torch.float64).dtype == torch.float64
    tensor = torch.arange(3)
    assert sent(tensor, cpu) is tensor


def test_what_is_kept_is_copied_once_a_device():
    cpu = torch.device("cpu")
    assert kept((3, 1, 4), cpu) is kept((3, 1, 4), cpu)
    assert kept((3, 1, 4), cpu).tolist() == [3, 1, 4]
    assert kept((3, 1), cpu).tolist() == [3, 1]
    with torch.inference_mode():
        assert not kept((2, 7, 1), cpu).is_inference(), "it outlives the call, and may meet weights that are trained"


def test_tensors_of_all_kinds_come_down_in_one_copy():
    tensors = [
        torch.tensor([True, False, True]),
        torch.arange(6, dtype=torch.int64).view(2, 3).T,
        torch.tensor(2.5),
        torch.zeros((0, 4), dtype=torch.int32),
        torch.rand(3, 1).to(torch.bfloat16),
        torch.arange(5, dtype=torch.int16),
    ]
    found = brought([says_cuda(tensor) for tensor in tensors])
    assert SaysCuda.copies == 1
    for a, b in zip(found, tensors, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.device.type == "cpu"
        assert torch.equal(a, b)
    memories = {tensor.untyped_storage().data_ptr() for tensor in found if tensor.numel()}
    assert len(memories) == 5, "none of them keeps the others alive"


def a_model_of_maps(device):
    """What Transformers' deformable attention does with the sizes of its maps."""
    shapes = torch.empty((2, 2), dtype=torch.int64, device=device)
    for level, (height, width) in enumerate([(3, 5), (2, 4)]):
        shapes[level, 0] = height
        shapes[level, 1] = width
    again = torch.as_tensor([(3, 5), (2, 4)], dtype=torch.int64, device=device)
    torch._check_tensor_all_with(ValueError, (shapes * again).sum() == 54, lambda: "the sizes are wrong")
    return shapes, again, torch.tensor([1.5], device=device), torch.as_tensor(again, dtype=torch.float32)


def test_what_a_model_writes_number_by_number_is_sent():
    meta = torch.device("meta")  # which has no values
    with pytest.raises(RuntimeError, match="meta"):
        a_model_of_maps(meta)
    with torch.no_grad(), numbers_sent(meta), Calls() as calls:
        found = a_model_of_maps(meta)
    assert {tensor.device for tensor in found} == {meta}
    assert calls.counts["fill_"] == 4
    assert calls.counts["_to_copy"] + calls.counts["copy_"] <= 3, "two are sent, and one is given another dtype"


def test_numbers_are_what_they_are_however_they_are_sent():
    want = a_model_of_maps("cpu")
    with numbers_sent(torch.device("cpu")):
        on_the_cpu = a_model_of_maps("cpu")
    with on_device._NumbersSent():
        sent_there = a_model_of_maps("cpu")
        rows = torch.zeros(2, 3)
        rows[0] = 5
        rows[:, 1] = 2.5
        rows[torch.tensor([1])] = 7
    for a, b, c in zip(want, on_the_cpu, sent_there, strict=True):
        assert a.dtype == b.dtype == c.dtype
        assert a.equal(b)
        assert a.equal(c)
    assert rows.tolist() == [[5, 2.5, 5], [7, 7, 7]]


def test_nothing_is_copied_on_the_cpu():
    tensors = [torch.arange(3), torch.rand(2)]
    assert all(a is b for a, b in zip(brought(tensors), tensors, strict=True))
    assert brought([]) == []
