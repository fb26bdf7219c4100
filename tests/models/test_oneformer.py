"""OneFormer's masks opened in place, as its own code opens them by number."""

from __future__ import annotations

import torch

from sensorium.models.oneformer import _OpenedMasks, opened_masks


def opened(mask):
    mask = mask.clone()
    mask[torch.where(mask.sum(-1) == mask.shape[-1])] = False
    return mask


def test_queries_that_see_nothing_see_all():
    mask = torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(0)) > 0.3
    mask[2, 3] = mask[0, 0] = True
    expected = opened(mask)
    assert expected.sum() < mask.sum()
    with _OpenedMasks():
        assert torch.equal(opened(mask), expected)
        assert opened(mask.to("meta")).device.type == "meta", "asks for nothing"


def test_on_the_cpu_nothing_changes():
    with opened_masks(torch.device("cpu")):
        assert [each.tolist() for each in torch.where(torch.tensor([False, True]))] == [[1]]
