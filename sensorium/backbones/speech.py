"""Speech encoders in padded batches: what each sound gives must not depend on how far it was filled up.

wav2vec2-base and its kin normalise their first convolution's output over time, so zeros at the end change every frame;
they were trained without a mask, and padding them changes their answers. Here the statistics are taken over the real
frames only, which gives what each sound would give alone. The rest of such an encoder is exact with an attention mask:
the convolutions of later layers look at real frames only, and Transformers sets the others to zero before the
positional convolution, leaves them out of the attention, and out of the mean at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

EXACT = ("hubert", "unispeech", "unispeech-sat", "wav2vec2")
"""Model types of which all that mixes frames takes a mask; each is tested.

WavLM would be one, but what Transformers passes to torch with a mask is deprecated there, and warned of. SEW
pools over the edge of the mask, the later positional convolutions of Data2Vec see what the earlier ones spill over it,
and so do adapters: their sounds share a batch where they are of one length.
"""


class RealFramesNorm(nn.GroupNorm):
    """A group norm of one channel a group, whose statistics leave out padding.

    Attributes:
        lengths: `(B,)` int64, the real samples of each sound of the batch that comes next; None for all of them.
        kernel: of the convolution before it, samples.
        stride: the same.
    """

    def __init__(self, norm: nn.GroupNorm, conv: nn.Conv1d) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
        self.weight, self.bias = norm.weight, norm.bias
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.lengths: Tensor | None = None
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalises `(B, C, frames)` along time."""
        if self.lengths is None:
            return super().forward(input)
        count = (self.lengths - self.kernel).div(self.stride, rounding_mode="floor") + 1
        if input.device.type == "cpu" and not torch.compiler.is_compiling():
            return self._row_by_row(input, count.tolist())
        real = (torch.arange(input.shape[-1], device=input.device) < count[:, None])[:, None].to(torch.float32)
        count = count.to(torch.float32)[:, None, None]
        values = input.to(torch.float32) * real
        values = (values - values.sum(-1, keepdim=True) / count) * real
        variance = values.square().sum(-1, keepdim=True) / count
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight.to(torch.float32)[:, None]
            values = torch.addcmul(self.bias.to(torch.float32)[:, None], values, scale)
        else:
            values = values * scale
        return values.to(input.dtype)

    def _row_by_row(self, input: Tensor, counts: list[int]) -> Tensor:
        """Torch's own norm of each row's real frames: on the CPU a tenth of what the masked passes over memory take."""
        if min(counts) >= input.shape[-1]:
            return super().forward(input)
        result = torch.empty_like(input)
        for row, count in enumerate(counts):
            result[row, :, :count] = super().forward(input[row : row + 1, :, :count])[0]
            result[row, :, count:] = 0
        return result


def takes_padding(model: nn.Module) -> bool:
    """Whether padded batches of this model are exact, once `watch_padding` was called and with an attention mask."""
    config: Any = getattr(model, "config", None)
    plain = not getattr(config, "add_adapter", False) and not getattr(config, "conv_pos_batch_norm", False)
    return plain and getattr(config, "model_type", None) in EXACT


def watch_padding(model: nn.Module) -> list[RealFramesNorm]:
    """Puts `RealFramesNorm` where a model normalises over time; weights and results without `lengths` stay as they are.

    Returns:
        What was put there, also by an earlier call: set their `lengths` before each batch. Empty for models that
        normalise frame by frame.
    """
    found: list[RealFramesNorm] = []
    for layer in list(model.modules()):
        norm, conv = getattr(layer, "layer_norm", None), getattr(layer, "conv", None)
        if isinstance(norm, RealFramesNorm):
            found.append(norm)
        elif isinstance(norm, nn.GroupNorm) and isinstance(conv, nn.Conv1d) and conv.in_channels == 1:
            layer.layer_norm = RealFramesNorm(norm, conv)
            found.append(layer.layer_norm)
    return found


def tell_lengths(norms: list[RealFramesNorm], lengths: Tensor | None) -> None:
    """Tells the norms how many samples of each sound of the next batch are real, `(B,)` int64; None for all."""
    for norm in norms:
        norm.lengths = lengths


def fold_weight_norm(model: nn.Module) -> None:
    """Computes weights that are kept as length and direction once, instead of in each forward pass."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def hook_ahead(model: nn.Module) -> None:
    """Installs the hooks that Transformers installs in a first forward pass, behind a lock that dynamo cannot trace."""
    from transformers import PreTrainedModel
    from transformers.utils import output_capturing

    install = getattr(output_capturing, "maybe_install_capturing_hooks", None)  # of one version or another
    for module in model.modules():
        if install is not None and isinstance(module, PreTrainedModel):
            install(module)


def least_samples(model: nn.Module) -> int:
    """How many samples a model's convolutions need to give one frame; 1 where it has none."""
    config: Any = getattr(model, "config", None)
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if not kernels or not strides:
        return 1
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
