"""SegFormer's head with its linear layers multiplied out: the same logits for a fifth of the arithmetic.

The head brings four maps to 256 channels, upsamples them to the finest one, and mixes the 1,024 channels down to 256,
all without a non-linearity between. A linear layer over channels and bilinear upsampling over places commute, so both
layers, and the normalisation behind them, become one small layer for each map, before it is upsampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusedHead(nn.Module):
    """What a SegFormer's `decode_head` computes in evaluation, from the same weights.

    Attributes:
        weights: `(256, C, 1, 1)` for each of the encoder's maps, from fine to coarse.
        bias: `(256,)`.
    """

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Whether this is Transformers' own SegFormer, with plain layers in its head."""
        head: Any = getattr(model, "decode_head", None)
        names = (type(model).__name__, type(head).__name__)
        if names != ("SegformerForSemanticSegmentation", "SegformerDecodeHead"):
            return False
        layers = [layer.proj for layer in head.linear_projections]
        plain = [*layers, head.linear_fuse, head.batch_norm, head.classifier]
        plain_types = (nn.Linear, nn.Conv2d, nn.BatchNorm2d)
        reshaped: Any = getattr(model, "config", None)
        return bool(reshaped.reshape_last_stage) and all(type(layer) in plain_types for layer in plain)

    def __init__(self, model: Any) -> None:
        """Multiplies the weights out, in float64."""
        super().__init__()
        head = model.decode_head
        norm, classifier = head.batch_norm, head.classifier
        with torch.no_grad():
            scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            bias = norm.bias.double() - norm.running_mean.double() * scale
            mixers = head.linear_fuse.weight.double().flatten(1).chunk(len(head.linear_projections), dim=1)
            weights = []
            for projection, mixer in zip(head.linear_projections, reversed(mixers), strict=True):  # coarsest first
                weights.append(scale[:, None] * (mixer @ projection.proj.weight.double()))
                bias += scale * (mixer @ projection.proj.bias.double())
        self.weights = nn.ParameterList(_frozen(weight[:, :, None, None].float()) for weight in weights)
        self.bias = _frozen(bias.float())
        self.classify = _frozen(classifier.weight.detach().clone())
        self.classify_bias = _frozen(classifier.bias.detach().clone())

    @property
    def weight(self) -> Tensor:
        """A weight that tells device and dtype."""
        return self.bias

    def forward(self, model: Any, pixel_values: Tensor) -> Tensor:
        """Logits, `(B, labels, h, w)` at a quarter of the sides.

        Args:
            model: the SegFormer, of which the encoder runs.
            pixel_values: `(B, 3, H, W)`.
        """
        maps: Sequence[Tensor] = model.segformer(pixel_values, output_hidden_states=True).hidden_states
        if self.bias.dtype != torch.float32:  # three times as fast; in float32 one layout is as good as the other
            maps = [feature_map.contiguous(memory_format=torch.channels_last) for feature_map in maps]
        mixed = F.conv2d(maps[0], self.weights[0], self.bias)
        for feature_map, weight in zip(maps[1:], list(self.weights)[1:], strict=True):
            small = F.conv2d(feature_map, weight)
            mixed = mixed + F.interpolate(small, size=mixed.shape[2:], mode="bilinear", align_corners=False)
        return F.conv2d(mixed.relu(), self.classify, self.classify_bias)


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
