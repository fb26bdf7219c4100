"""Convolutions that a CPU's library gets wrong in bfloat16 are done in float32.

On CPUs with AMX, oneDNN as of torch 2.11 to 2.13 gives numbers that have nothing to do with the right ones for some
kernels with rows, the channels of a group times the kernel's width, that are a multiple of 32 from 64 on, and with
fewer than 16 channels, or 32 where kernels lie apart: patches of 16 px of pictures of four, six or twelve bands, say.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

CHANNELS = 32
"""Of a group, from which products are done in another way, which is right."""
ROW = 64
"""Numbers of a row of the kernel below which they are, too."""
OUTPUTS = 16
"""Places at which one convolution is tried; with a few it is right."""
WRONG = 0.1
"""A share of the largest number; rounding to bfloat16 takes some thousandths."""


def widen_where_wrong(model: nn.Module) -> int:
    """Makes those convolutions of a model run in float32, on the CPU, that are tried and found to be wrong.

    Weights stay as they are. Only those whose shape is known for it are tried; each takes about a millisecond.

    Returns:
        How many there are.
    """
    found = [module for module in model.modules() if _may_be_wrong(module) and _is_wrong(module)]
    for module in found:
        _widen(module)
    return len(found)


def _may_be_wrong(module: nn.Module) -> bool:
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return False
    weight, channels = module.weight, module.in_channels // module.groups
    narrow = 1 < channels < CHANNELS and channels * module.kernel_size[-1] >= ROW
    return narrow and weight.dtype == torch.bfloat16 and weight.device.type == "cpu"


@torch.inference_mode()
def _is_wrong(module: Any) -> bool:
    spans = [at * (size - 1) + 1 for at, size in zip(module.dilation, module.kernel_size, strict=True)]
    spans[-1] += module.stride[-1] * (OUTPUTS - 1)
    drawn = torch.rand(1, module.in_channels, *spans, generator=torch.Generator().manual_seed(0)) - 0.5
    given = drawn.to(torch.bfloat16)
    weight, bias = module.weight, module.bias
    exact = module._conv_forward(given.float(), weight.float(), None if bias is None else bias.float())
    apart = (module._conv_forward(given, weight, bias).float() - exact).abs().amax()
    return not bool(apart <= WRONG * exact.abs().amax())


def _widen(module: Any) -> None:
    own = module._conv_forward

    def forward(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if given.device.type != "cpu" or given.dtype != torch.bfloat16:
            result: Tensor = own(given, weight, bias)
            return result
        wide: Tensor = own(given.float(), weight.float(), None if bias is None else bias.float())
        return wide.to(given.dtype)

    module._conv_forward = forward
