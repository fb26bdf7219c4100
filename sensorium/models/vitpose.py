"""ViTPose, of whose experts one runs.

Xu, Zhang, Zhang, Tao: ViTPose++: Vision Transformer for Generic Body Pose Estimation,
https://arxiv.org/abs/2212.04246: a part of each layer is trained for one data set alone. The reference runs all
experts on all tokens, and multiplies those with zero that were not asked for. Here the one that is asked for runs, and
no layer behind the one that the head looks at. The simple head enlarges all channels and convolves them with a kernel
for each joint; both are linear, so that here the kernels come first, at the size of the patches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad


def experts_of(model: Any) -> int:
    """How many experts a `VitPoseForPoseEstimation` has; 1 for one without any."""
    count: int = getattr(model.backbone.config, "num_experts", 1)
    return count


def vitpose(model: Any, pixels: Tensor, expert: int) -> Tensor:
    """Heat maps `(B, K, h, w)`.

    Args:
        model: a `VitPoseForPoseEstimation` on its own `VitPoseBackbone`.
        pixels: `(B, 3, H, W)`.
        expert: which is asked.
    """
    backbone = model.backbone
    states = backbone.embeddings(pixels)
    for layer in backbone.encoder.layer[: _last_layer(backbone)]:
        states = states + layer.attention(layer.layernorm_before(states))
        states = states + _mlp(layer, layer.layernorm_after(states), expert)
    rows, columns = (
        side // patch for side, patch in zip(backbone.config.image_size, backbone.config.patch_size, strict=True)
    )
    seen = backbone.layernorm(states).permute(0, 2, 1).reshape(len(pixels), -1, rows, columns).contiguous()
    if type(model.head).__name__ == "VitPoseSimpleDecoder":
        return simple_head(model.head, seen)
    maps: Tensor = model.head(seen)
    return maps


def simple_head(head: Any, features: Tensor) -> Tensor:
    """`(B, K, h, w)` float32: what a `VitPoseSimpleDecoder` gives, kernels first.

    Args:
        head: enlarges bilinearly, then convolves with 3 by 3 px.
        features: `(B, C, rows, columns)`.
    """
    weight, scale = head.conv.weight, int(head.upsampling.scale_factor)
    count, channels = weight.shape[:2]
    taps = weight.permute(2, 3, 0, 1).reshape(9 * count, channels, 1, 1)
    rows, columns = features.shape[2:]
    one = conv2d(head.activation(features), taps).float().view(len(features), 3, 3, count, rows, columns)
    down, across = (_enlarged(side, scale, features.device) for side in (rows, columns))
    # what the kernel's rows see is stacked, and then what its columns see: two products instead of nine shifted sums
    stacked = one.permute(0, 3, 2, 1, 4, 5).reshape(len(features), count, 3, 3 * rows, columns)
    tall = down @ stacked
    wide = tall.permute(0, 1, 3, 2, 4).reshape(len(features), count, rows * scale, 3 * columns)
    maps: Tensor = wide @ across.T + head.conv.bias.float()[:, None, None]
    return maps


def _enlarged(count: int, scale: int, device: torch.device) -> Tensor:
    """`(scale · count, 3 · count)`: each enlarged px out of the small ones, as seen by a kernel's three places."""
    basis = interpolate(torch.eye(count, device=device)[None], scale_factor=scale, mode="linear")[0].T
    around = pad(basis, (0, 0, 1, 1))
    return torch.cat([around[place : place + scale * count] for place in range(3)], dim=1)


def _last_layer(backbone: Any) -> int:
    """How many layers run before the last of the feature maps."""
    names = list(backbone.stage_names)
    return max(names.index(name) for name in backbone.out_features)


def _mlp(layer: Any, states: Tensor, expert: int) -> Tensor:
    mlp = layer.mlp
    if layer.num_experts == 1:
        plain: Tensor = mlp(states)
        return plain
    hidden = mlp.act(mlp.fc1(states))
    return torch.cat([mlp.fc2(hidden), mlp.experts[expert](hidden)], dim=-1)
