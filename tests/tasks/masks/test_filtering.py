"""From logits to masks where a look at the device takes time; what comes out is tested with the task."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sensorium.tasks.masks import filtering
from sensorium.tasks.masks.filtering import runs_of
from sensorium.tasks.masks.mask_batch import MaskBatch
from tests.host_waits import SaysCuda, says_cuda


def masks_of(seed):
    torch.manual_seed(seed)
    masks = torch.rand(5, 9, 11) < 0.3
    masks[2] = False
    masks[4] = True
    return masks


def test_runs_are_counted_alike_wherever_masks_lie():
    for seed in range(3):
        want = runs_of(masks_of(seed))
        found = runs_of(says_cuda(masks_of(seed)))
        assert SaysCuda.copies == 0
        for a, b in zip(found, want, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a.cpu(), b)


def test_no_masks_have_no_runs():
    starts, lengths, changes = runs_of(says_cuda(torch.zeros((0, 4, 5), dtype=torch.bool)))
    assert (len(starts), len(lengths), len(changes)) == (0, 0, 0)


def test_masks_come_down_in_one_copy():
    starts, lengths, changes = runs_of(masks_of(0))
    count = len(starts)
    batch = MaskBatch(
        torch.rand(count), torch.rand(count), torch.arange(4 * count).view(count, 4), torch.arange(count),
        torch.ones(count, dtype=torch.bool), starts, lengths, changes,
    )  # fmt: skip
    found = MaskBatch(**{name: says_cuda(tensor) for name, tensor in vars(batch).items()}).download()
    assert SaysCuda.copies == 1
    for name, tensor in vars(batch).items():
        assert torch.equal(getattr(found, name), tensor), name


@pytest.mark.parametrize(("side", "square"), [(16, 64), (256, 1024), (24, 100), (7, 7)])
def test_no_logit_beyond_the_reach_has_a_part_in_a_pixel(side, square):
    for resized in range(1, square + 1, max(1, square // 50)):
        whole = F.interpolate(torch.eye(side)[None], square, mode="linear", align_corners=False)
        used = F.interpolate(whole[..., :resized], 2 * resized + 1, mode="linear", align_corners=False)[0].any(1)
        last = int(used.nonzero().max())
        assert last < filtering._reach(side, resized, square) <= min(side, last + 3)
