"""Convolutions in bfloat16 on CPUs whose library gets some of them wrong."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sensorium.models.convolutions import widen_where_wrong
from sensorium.tasks.base import Runtime

CPU = torch.device("cpu")


class Wrong(nn.Conv1d):
    """One that is wrong in bfloat16, on any chip."""

    def _conv_forward(self, given, weight, bias):
        result = super()._conv_forward(given, weight, bias)
        return -result if given.dtype == torch.bfloat16 else result


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)


@torch.inference_mode()
def apart(module, exact, given):
    result, want = module(given), exact(given.float())
    assert result.dtype == torch.bfloat16
    return ((result.float() - want).abs().max() / want.abs().max()).item()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(16, 16, 16, padding=8, groups=4), (2, 16, 200)),
        (nn.Conv1d(8, 4, 8, bias=False), (1, 8, 40)),
        (nn.Conv2d(4, 24, 16, stride=16), (2, 4, 64, 64)),
        (nn.Conv2d(16, 96, 4, stride=4), (1, 16, 112, 112)),
        (nn.Conv2d(12, 24, 8, stride=8, padding=4, padding_mode="reflect"), (1, 12, 160, 160)),
        (nn.Conv3d(6, 8, (2, 16, 16), stride=(2, 16, 16)), (1, 6, 4, 32, 320)),
    ],
)
def test_what_is_placed_is_right_on_this_chip(layer, shape):
    module, exact = nn.Sequential(copy.deepcopy(layer)), copy.deepcopy(layer).to(torch.bfloat16).float()
    Runtime(module).place(CPU, torch.bfloat16)
    assert apart(module, exact, drawn(*shape)) < 0.02
    assert all(weight.dtype == torch.bfloat16 for weight in module.parameters())


def test_what_is_wrong_is_done_in_float32_and_no_more_than_once():
    module = nn.Sequential(
        Wrong(8, 8, 8), Wrong(8, 8, 3), Wrong(32, 8, 8), nn.utils.parametrizations.weight_norm(Wrong(4, 4, 16))
    )
    exact = [copy.deepcopy(each).to(torch.bfloat16).float() for each in module]
    before = torch.get_rng_state()
    assert widen_where_wrong(module) == 0, "float32 is right"
    assert widen_where_wrong(module.to(torch.bfloat16)) == 2, "the first and the last have a shape that is tried"
    assert widen_where_wrong(module) == 0
    assert torch.equal(torch.get_rng_state(), before)
    copied = copy.deepcopy(module)
    with torch.no_grad():
        module[0].weight.zero_()
    for i in (0, 3):
        assert apart(copied[i], exact[i], drawn(1, exact[i].in_channels, 40)) < 0.02
    assert module[0](drawn(1, 8, 8)).flatten().tolist() == module[0].bias.tolist(), "its own weights, not a copy's"
