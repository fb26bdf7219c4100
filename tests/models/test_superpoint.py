"""SuperPoint's points where a look at the device takes time; what they are is tested with the tasks."""

from __future__ import annotations

import pytest
import torch

from sensorium.models import superpoint
from tests.host_waits import SaysCuda, says_cuda


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_places_are_found_with_one_look(share):
    torch.manual_seed(0)
    mask = torch.rand(3, 20, 30) < share
    mask[1] = False
    want, counts = superpoint._places(mask)
    assert counts[1] == 0
    places, found = superpoint._places(says_cuda(mask))
    assert SaysCuda.copies == 1
    assert found == counts
    assert torch.equal(places.cpu(), want)
