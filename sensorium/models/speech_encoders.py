"""Speech encoders in padded batches: the result for a sound must not depend on how far it was padded.

wav2vec2-base and similar models normalise their first convolution's output over time, so zeros at the end change every
frame; they were trained without a mask, and padding them changes their answers. Here the statistics are taken over the
real frames only, which gives what each sound would give alone. The rest of such an encoder is exact with an attention
mask: the convolutions of later layers look at real frames only, and Transformers sets the others to zero before the
positional convolution, leaves them out of the attention, and out of the mean at the end.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

EXACT = ("hubert", "unispeech", "unispeech-sat", "wav2vec2")
"""Model types of which all that mixes frames takes a mask; each is tested.

WavLM would be one, but with a mask Transformers passes something to torch that is deprecated and warned about. SEW
pools over the edge of the mask, the later positional convolutions of Data2Vec see what the earlier ones spill over it,
and so do adapters: their sounds share a batch where they are of one length.
"""

SHARE = 480_000
"""Values of a batch, 30 s of samples, that run at a time in eager mode on the CPU, where more would gain nothing."""

PIECE = 125
"""Frames that the convolutions give at a time in eager mode on the CPU, 2.5 s."""


class RealFramesNorm(nn.GroupNorm):
    """A group norm of one channel a group, whose statistics leave out padding.

    Attributes:
        lengths: `(B,)` int64, the real samples of each sound of the batch that comes next; None for all of them.
        kernel: of the convolution before it, samples.
        stride: the same.
        statistics: mean and variance of each channel, `(C,)` float32, where what comes is a piece of a sound.
    """

    def __init__(self, norm: nn.GroupNorm, conv: nn.Conv1d) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
        self.weight, self.bias = norm.weight, norm.bias
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.lengths: Tensor | None = None
        self.statistics: tuple[Tensor, Tensor] | None = None
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalises `(B, C, frames)` along time."""
        if self.statistics is not None:
            weight, bias = (None if p is None else p.to(torch.float32) for p in (self.weight, self.bias))
            return F.batch_norm(input, *self.statistics, weight, bias, eps=self.eps)
        if self.lengths is None:
            return super().forward(input)
        count = (self.lengths - self.kernel).div(self.stride, rounding_mode="floor") + 1
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


class WatchedEncoder:
    """The forward pass of a speech model's first convolutions, aware of padding.

    In eager mode on the CPU each sound runs alone, over its real samples, some frames at a time: none of it is spent on
    padding, and the first layers' outputs, 491 MB for 30 s in float32, are there for a piece at a time. Convolutions
    gain nothing from a batch there. Elsewhere the batch runs as one, with norms that leave padding out.

    Attributes:
        lengths: `(B,)` int64, the real samples of each sound of the batch that comes next; None for all of them.
    """

    def __init__(self, encoder: nn.Module, norms: list[RealFramesNorm]) -> None:
        self.encoder, self.norms = encoder, norms
        self.lengths: Tensor | None = None

    def __call__(self, input_values: Tensor) -> Tensor:
        """From `(B, N)` samples to `(B, C, frames)`; frames after the longest real sound's may be left out."""
        run = type(self.encoder).forward
        if self.lengths is None:
            return cast("Tensor", run(self.encoder, input_values))
        if input_values.device.type == "cpu" and not torch.compiler.is_compiling():
            pairs = zip(input_values, self.lengths.tolist(), strict=True)
            return _padded([self._alone(row[None, :length])[0] for row, length in pairs])
        for norm in self.norms:
            norm.lengths = self.lengths
        features = run(self.encoder, input_values)
        for norm in self.norms:
            norm.lengths = None
        return cast("Tensor", features)

    def _alone(self, samples: Tensor) -> Tensor:
        """One sound, `(1, N)`, in pieces: the convolutions look at no more than `kernel` samples for a frame."""
        layers: Any = self.encoder.conv_layers
        convs = [layer.conv for layer in layers]
        kernel, stride = _reach([conv.kernel_size[0] for conv in convs], [conv.stride[0] for conv in convs])
        frames = (samples.shape[1] - kernel) // stride + 1
        run = type(self.encoder).forward
        if frames <= PIECE or not all(_is_local(layer) for layer in layers):
            return cast("Tensor", run(self.encoder, samples))
        starts = range(0, frames, PIECE)
        pieces = [samples[:, i * stride : (min(i + PIECE, frames) - 1) * stride + kernel] for i in starts]
        for norm in self.norms:
            norm.statistics = _statistics(layers[0].conv, samples)
        try:
            return torch.cat([run(self.encoder, piece) for piece in pieces], dim=2)
        finally:
            for norm in self.norms:
                norm.statistics = None


def takes_padding(model: nn.Module) -> bool:
    """Whether padded batches of this model are exact, once `watch_padding` was called and with an attention mask."""
    config: Any = getattr(model, "config", None)
    plain = not getattr(config, "add_adapter", False) and not getattr(config, "conv_pos_batch_norm", False)
    return plain and getattr(config, "model_type", None) in EXACT


def watch_padding(model: nn.Module) -> list[WatchedEncoder]:
    """Makes the convolutions of a model leave padding out; weights, and results without `lengths`, stay as they are.

    Returns:
        What was put before them, also by an earlier call: tell it the lengths of each batch.
    """
    encoders: list[WatchedEncoder] = []
    for encoder in model.modules():
        forward = encoder.__dict__.get("forward")
        if isinstance(forward, WatchedEncoder):
            encoders.append(forward)
        elif isinstance(layers := getattr(encoder, "conv_layers", None), nn.ModuleList) and _hears(layers):
            watched = WatchedEncoder(encoder, _watched_norms(layers))
            encoder.forward = watched  # module and weights keep their names
            encoders.append(watched)
        adapts = getattr(getattr(model, "config", None), "add_adapter", False)
        if not adapts and hasattr(encoder, "_get_feature_vector_attention_mask"):
            encoder.__dict__["_get_feature_vector_attention_mask"] = types.MethodType(_real_frames, encoder)
    return encoders


def tell_lengths(encoders: list[WatchedEncoder], lengths: Tensor | None) -> None:
    """Tells how many samples of each sound of the next batch are real, `(B,)` int64; None for all."""
    for encoder in encoders:
        encoder.lengths = lengths


def in_shares(compute: Callable[[Mapping[str, Tensor]], Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
    """Runs a batch of long sounds a few at a time where that is as fast: this bounds the memory of their activations.

    Args:
        compute: from the model's inputs to a tensor, both with the sounds along their first axis.
        inputs: all of them.
    """
    first = next(iter(inputs.values()))
    some = max(1, SHARE // first[0].numel())
    if first.device.type != "cpu" or torch.compiler.is_compiling() or len(first) <= some:
        return compute(inputs)
    starts = range(0, len(first), some)
    return torch.cat([compute({name: values[i : i + some] for name, values in inputs.items()}) for i in starts])


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
    return _reach(kernels, strides)[0]


def _real_frames(encoder: Any, frames: int, attention_mask: Tensor, add_adapter: bool | None = None) -> Tensor:
    """`(B, frames)` bool, as Transformers' own method gives it without adapters, which makes the host wait."""
    lengths = encoder._get_feat_extract_output_lengths(attention_mask.cumsum(-1)[:, -1]).to(torch.long)
    real: Tensor = torch.arange(frames, device=attention_mask.device) < lengths[:, None]
    return real


def _reach(kernels: Iterable[int], strides: Iterable[int]) -> tuple[int, int]:
    """How many samples a frame comes from, and how many lie between two frames, of convolutions one after the other."""
    samples, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        samples += (kernel - 1) * step
        step *= stride
    return samples, step


def _is_local(layer: nn.Module) -> bool:
    """Whether a layer mixes frames only by an unpadded convolution and a norm that can be told the lengths."""
    conv: Any = getattr(layer, "conv", None)
    plain = isinstance(conv, nn.Conv1d) and conv.padding == (0,) and conv.dilation == (1,)
    norm = getattr(layer, "layer_norm", None)
    return plain and (isinstance(norm, RealFramesNorm) or not isinstance(norm, nn.GroupNorm))


def _statistics(conv: nn.Conv1d, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over time of what the first convolution gives, `(C,)` float32.

    It is linear in the few samples that it sees at a time, so that their mean and covariance tell, without running it.
    """
    seen = samples[0].double().unfold(0, conv.kernel_size[0], conv.stride[0])
    middle, weight = seen.mean(0), conv.weight[:, 0].double()
    apart = seen - middle
    covariance = apart.T @ apart / len(seen)
    mean = weight @ middle if conv.bias is None else weight @ middle + conv.bias.double()
    return mean.float(), ((weight @ covariance) * weight).sum(1).float()


def _hears(layers: nn.ModuleList) -> bool:
    """Whether the first of these layers takes samples."""
    conv = getattr(layers[0], "conv", None) if len(layers) else None
    return isinstance(conv, nn.Conv1d) and conv.in_channels == 1


def _watched_norms(layers: nn.ModuleList) -> list[RealFramesNorm]:
    """Puts a `RealFramesNorm` after the first convolution, if it is normalised over time."""
    first: Any = layers[0]
    norm = getattr(first, "layer_norm", None)
    if not isinstance(norm, nn.GroupNorm):
        return []
    first.layer_norm = RealFramesNorm(norm, first.conv)
    return [first.layer_norm]


def _padded(rows: list[Tensor]) -> Tensor:
    """`(B, C, frames)` from `(C, n)` each."""
    if len(rows) == 1:
        return rows[0][None]
    batch = rows[0].new_zeros(len(rows), rows[0].shape[0], max(row.shape[1] for row in rows))
    for target, row in zip(batch, rows, strict=True):
        target[:, : row.shape[1]] = row
    return batch
