"""Small values between the host and a device."""

from __future__ import annotations

import torch

from sensorium.models.on_device import brought, kept, sent
from tests.host_waits import SaysCuda, says_cuda


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


def test_nothing_is_copied_on_the_cpu():
    tensors = [torch.arange(3), torch.rand(2)]
    assert all(a is b for a, b in zip(brought(tensors), tensors, strict=True))
    assert brought([]) == []
