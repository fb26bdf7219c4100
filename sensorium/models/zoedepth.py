"""ZoeDepth with several metric heads: each picture takes the head of its own domain.

Bhat, Birkl, Wofk, Wonka, Müller: ZoeDepth: Zero-shot Transfer by Combining Relative and Metric Depth,
https://arxiv.org/abs/2302.12288. The reference lets the pictures of a batch vote, so that a street among rooms is
measured as a room, and asks the device for the outcome. Here all heads run, and each picture gets its own: what it gets
alone there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

_DOMAINS = 2
"""Between as many its classifier chooses, however many heads there are."""


def has_domains(model: Any) -> bool:
    """Whether a `ZoeDepthForDepthEstimation` has a head for each of several domains."""
    return hasattr(model.metric_head, "mlp_classifier")


def zoedepth(model: Any, pixels: Tensor) -> Tensor:
    """`(B, h, w)` metres.

    Args:
        model: a `ZoeDepthForDepthEstimation` that `has_domains`.
        pixels: `(B, 3, H, W)`.
    """
    patches = (pixels.shape[2] // model.patch_size, pixels.shape[3] // model.patch_size)
    maps = model.backbone.forward_with_filtered_kwargs(pixels).feature_maps
    blocks, bottleneck = model.neck(maps, *patches)
    _, last = model.relative_head(blocks)
    return _metric(model.metric_head, last, bottleneck, blocks)


def _metric(head: Any, last: Tensor, bottleneck: Tensor, blocks: Any) -> Tensor:
    """The head's own steps; what does not depend on the domain is done once."""
    x = head.conv2(bottleneck)
    chosen = head.mlp_classifier(head.patch_transformer(x)[:, 0]).argmax(-1).view(-1, 1, 1)
    seed_embedding = head.seed_projector(x)
    embeddings = [projector(block) for projector, block in zip(head.projectors, blocks, strict=False)]
    final = _to(embeddings[-1], last)
    depth: Tensor | None = None
    for number, domain in enumerate(head.bin_configurations[:_DOMAINS]):
        centres = _centres(head, domain, x, [seed_embedding, *embeddings])
        shares = head.conditional_log_binomial[domain["name"]](last, final)
        metres = (shares * _to(centres, last)).sum(dim=1)
        depth = metres if depth is None else torch.where(chosen == number, metres, depth)
    assert depth is not None
    return depth


def _centres(head: Any, domain: Any, x: Tensor, embeddings: list[Tensor]) -> Tensor:
    """`(B, bins, h, w)`, the centres of a domain's bins, moved by its attractors."""
    centres: Tensor
    _, centres = head.seed_bin_regressors[domain["name"]](x)
    bins = centres
    if head.bin_centers_type in ("normed", "hybrid2"):
        bins = (centres - domain["min_depth"]) / (domain["max_depth"] - domain["min_depth"])
    for number, attractor in enumerate(head.attractors[domain["name"]]):
        bins, centres = attractor(embeddings[number + 1], bins, embeddings[number], interpolate=True)
    return centres


def _to(maps: Tensor, like: Tensor) -> Tensor:
    resized: Tensor = interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=True)
    return resized
