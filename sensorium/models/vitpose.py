"""ViTPose, of whose experts one runs.

Xu, Zhang, Zhang, Tao: ViTPose++: Vision Transformer for Generic Body Pose Estimation,
https://arxiv.org/abs/2212.04246: a part of each layer is trained for one data set alone. The reference runs all
experts on all tokens, and multiplies those with zero that were not asked for. Here the one that is asked for runs, and
no layer behind the one that the head looks at.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
    maps: Tensor = model.head(seen)
    return maps


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
