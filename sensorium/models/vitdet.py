"""VitDet's attention, part by part, so that its memory grows with the pixels of a picture, and not with their square.

Transformers' holds a weight for every pair of patches: of a picture of 12 MP, with six heads in float32, 53 GB for each
layer that looks at all of it, and more while positions are added. A query's weights depend on no other query's, so here
they are made for a few rows of patches at once. Results are the same, to rounding.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

_AT_ONCE = 2**24
"""Weights that are held at once: 64 MiB in float32."""


def attend_in_parts(model: nn.Module) -> None:
    """Makes the VitDet layers of a loaded model attend part by part, and find relative positions on their device."""
    for module in model.modules():
        if type(module).__name__ == "VitDetAttention":
            vars(module)["forward"] = types.MethodType(_attended, module)


def _attended(attention: Any, hidden_state: Tensor, output_attentions: bool = False) -> tuple[Tensor, ...]:
    """As `VitDetAttention.forward`, of `(B, H, W, C)` patches."""
    if output_attentions:
        outputs: tuple[Tensor, ...] = type(attention).forward(attention, hidden_state, output_attentions=True)
        return outputs
    batch, height, width, _ = hidden_state.shape
    heads = attention.num_heads
    qkv = attention.qkv(hidden_state).reshape(batch, height * width, 3, heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys, values = qkv.reshape(3, batch * heads, height, width, -1).unbind(0)
    per_row = batch * heads * width * height * width
    rows = max(1, _AT_ONCE // per_row)
    found = torch.cat(list(_parts(attention, queries, keys.flatten(1, 2), values.flatten(1, 2), rows)), dim=1)
    found = found.view(batch, heads, height, width, -1).permute(0, 2, 3, 1, 4).reshape(batch, height, width, -1)
    return (attention.proj(found),)


def _parts(attention: Any, queries: Tensor, keys: Tensor, values: Tensor, rows: int) -> Iterator[Tensor]:
    """`(B·heads, r·W, c)` of so many rows of queries after each other.

    Args:
        attention: the layer.
        queries: `(B·heads, H, W, c)`.
        keys: `(B·heads, H·W, c)`.
        values: `(B·heads, H·W, c)`.
        rows: of patches that are taken at once.
    """
    height, width = queries.shape[1:3]
    positions = attention.use_relative_position_embeddings
    if positions:
        down, across = _relative(height, attention.rel_pos_h), _relative(width, attention.rel_pos_w)
    for first in range(0, height, rows):
        some = queries[:, first : first + rows]
        scores = (some.flatten(1, 2) * attention.scale) @ keys.transpose(-2, -1)
        if positions:
            placed = scores.view(*some.shape[:3], height, width)
            placed += torch.einsum("bhwc,hkc->bhwk", some, down[first : first + rows])[..., None]
            placed += torch.einsum("bhwc,wkc->bhwk", some, across)[:, :, :, None]
        yield scores.softmax(dim=-1) @ values


def _relative(size: int, rel_pos: Tensor) -> Tensor:
    """`(size, size, c)`, the embedding of where each key of an axis lies, as seen from each query.

    Args:
        size: patches along the axis.
        rel_pos: `(N, c)`, the embeddings, interpolated to as many as there are distances.
    """
    distances = 2 * size - 1
    if len(rel_pos) != distances:
        rel_pos = interpolate(rel_pos.T[None], size=distances, mode="linear")[0].T
    # the embedding of query q and key k is that at q - k + size - 1: a window from q on, read backwards
    return rel_pos.unfold(0, size, 1).flip(-1).transpose(1, 2)
