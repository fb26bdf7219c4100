"""EfficientLoFTR over pairs of pictures: cells that chose each other, then where in them the same place lies.

Wang, He, Peng, Tan, Zhou: Efficient LoFTR: Semi-Dense Local Feature Matching with Sparse-Like Speed,
https://arxiv.org/abs/2403.04765. The networks are Transformers'; what is made of their features follows the authors'
code, since Transformers' pairs a cell of one picture with another cell's partner, compares the pixels of a cell across
cells, and in a batch mixes pairs of pictures.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.models.matching import choose

TOGETHER = 1024
"""Matches that are refined at once: 64 pixels with 100, 26 MB."""


def compared(model: Any, pixels: Tensor) -> dict[str, Tensor]:
    """What is known of pairs of pictures before any match is looked at.

    Args:
        model: an `EfficientLoFTRForKeypointMatching`.
        pixels: `(P, 2, 3, H, W)`, as its processor makes them.

    Returns:
        `partner`, `(P, N)` int64, for each cell of a first picture one of the second; `scores`, `(P, N)` float32, 0
        where the choice does not count; `fine`, `(P, 2, C, h, w)` features of pixels.
    """
    coarse, *finer = model.efficientloftr(pixels).feature_maps
    fine = model.refinement_layer.forward_pyramid(
        (coarse / model.config.hidden_size**0.5).flatten(0, 1), list(reversed(finer))
    )
    rows, columns = coarse.shape[-2:]
    first, second = (coarse.float().flatten(3) / coarse.shape[2] ** 0.5).unbind(1)
    similar = first.transpose(1, 2) @ second / model.config.coarse_matching_temperature
    if not model.config.coarse_matching_skip_softmax:
        similar = similar.softmax(1) * similar.softmax(2)
    partner, scores, mutual = choose(similar)
    inner = _inner(rows, columns, model.config.coarse_matching_border_removal, scores.device)
    counts = mutual & (scores > model.config.coarse_matching_threshold) & inner & inner[partner]
    return {"partner": partner, "scores": torch.where(counts, scores, 0), "fine": fine.unflatten(0, (-1, 2))}


def _inner(rows: int, columns: int, border: int, device: torch.device) -> Tensor:
    """`(rows · columns,)` bool, the cells that are so many away from each border at least."""
    sides = [torch.arange(side, device=device) for side in (rows, columns)]
    inside = [(at >= border) & (at < len(at) - border) for at in sides]
    return (inside[0][:, None] & inside[1]).flatten()


def refined(model: Any, fine: Tensor, matches: Tensor, *, columns: int) -> Tensor:
    """Where in both cells of each match the same place lies.

    Args:
        model: as for `compared`.
        fine: from there.
        matches: `(M, 3)` int64: a pair's number, a cell of its first picture, and one of its second.
        columns: how many cells a picture has side by side.

    Returns:
        `(M, 2, 2)` float32, for both pictures x and y in px of what the model saw.
    """
    parts = [_refined(model, fine, part, columns) for part in matches.split(TOGETHER)]
    return torch.cat(parts) if parts else fine.new_zeros((0, 2, 2), dtype=torch.float32)


def _refined(model: Any, fine: Tensor, matches: Tensor, columns: int) -> Tensor:
    side, local = model.config.fine_kernel_size, model.config.fine_matching_slice_dim
    pair, *cells = matches.unbind(1)
    first = _windows(fine[:, 0], pair, cells[0], columns, side)
    second = _windows(F.pad(fine[:, 1], (1, 1, 1, 1)), pair, cells[1], columns, side, wider=2)
    scale = first.shape[-1] ** 0.5  # of all channels, as the authors have it
    similar = (first[..., :-local] / scale) @ (second[..., :-local] / scale).transpose(1, 2)
    sure = (similar.softmax(1) * similar.softmax(2)).unflatten(2, (side + 2, side + 2))[..., 1:-1, 1:-1].flatten(2)
    best = sure.flatten(1).argmax(1)
    here, there = best // side**2, best % side**2
    places = [torch.stack([at % columns, at // columns], dim=-1) * side for at in cells]
    ends = [place + _offset(at, side) for place, at in zip(places, (here, there), strict=True)]
    ends[1] = ends[1] + _shift(model, first[..., -local:], second[..., -local:], here, there)
    return torch.stack(ends, dim=1)


def _windows(maps: Tensor, pair: Tensor, cell: Tensor, columns: int, side: int, *, wider: int = 0) -> Tensor:
    """`(M, pixels, C)` float32, the features of the pixels of cells, and of some around them."""
    within = torch.arange(side + wider, device=maps.device)
    down = (cell // columns * side)[:, None] + within
    across = (cell % columns * side)[:, None] + within
    found = maps[pair[:, None, None], :, down[:, :, None], across[:, None, :]]
    return found.flatten(1, 2).float()


def _offset(pixel: Tensor, side: int) -> Tensor:
    """`(M, 2)` float32, x and y of a pixel of a cell, from the cell's middle."""
    return torch.stack([pixel % side, pixel // side], dim=-1) - side // 2 + 0.5


def _shift(model: Any, first: Tensor, second: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """`(M, 2)` float32, how far from its pixel the place lies in the second picture, in [-1, 1] px.

    The authors look the nine pixels up in a window that has a pixel more on each side, by places without it; the
    first one's neighbours before it are the last ones.
    """
    side, wide = model.config.fine_kernel_size, model.config.fine_kernel_size + 2
    around = torch.arange(-1, 2, device=there.device)
    down = ((there // side)[:, None] + around) % wide
    across = ((there % side)[:, None] + around) % wide
    number = torch.arange(len(here), device=here.device)
    query = first[number, here]
    keys = second[number[:, None], (down[:, :, None] * wide + across[:, None, :]).flatten(1)]
    similar = (keys @ query[:, :, None])[..., 0] / first.shape[-1] ** 0.5
    weights = (similar / model.config.fine_matching_regress_temperature).softmax(1).unflatten(1, (3, 3))
    steps = around.to(weights.dtype)
    return torch.stack([(weights.sum(1) * steps).sum(1), (weights.sum(2) * steps).sum(1)], dim=-1)
