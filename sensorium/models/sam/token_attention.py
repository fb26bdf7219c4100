"""Attention between a few tokens and many places, as SAM's mask decoder has it, with the products on the tokens' side.

`(q W_k) K^T` for `q (K W_k)^T`: with 7 tokens in 8 heads that is less than half of the products, and what the
projections of 4,096 places would fill is never written. The results are the modules' own to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def attend_each_other(attention: Any, query: Tensor, value: Tensor) -> Tensor:
    """The tokens' attention to each other: `(N, T, C)`."""
    attended, _ = attention(query=query[None], key=query[None], value=value[None])
    result: Tensor = attended[0]
    return result


def read_places(attention: Any, query: Tensor, placed: Tensor, keys: Tensor) -> Tensor:
    """Tokens `(N, T, C)` attend to places `(N, S, C)`, with the projections of the places moved to the tokens' side."""
    count, length = query.shape[:2]
    heads = attention.num_attention_heads
    weight, _ = affine(attention.k_proj)  # its bias moves all scores of a token alike, which softmax does not see
    asked = attention.q_proj(query).view(count, length, heads, -1) * attention.scaling
    asked = torch.einsum("nthd,hdc->nhtc", asked, weight.view(heads, -1, weight.shape[1])).flatten(1, 2)
    share = (asked @ placed.transpose(1, 2)).softmax(-1)
    seen = (share @ keys).view(count, heads, length, -1)
    weight, bias = affine(attention.v_proj)
    value = torch.einsum("nhtc,hdc->nthd", seen, weight.view(heads, -1, weight.shape[1])).flatten(2) + bias
    written: Tensor = output_of(attention)(value)
    return written


def write_places(attention: Any, scores: Tensor, tokens: Tensor, keys: Tensor) -> Tensor:
    """Adds to places `(N, S, C)`, in place, what they take from the tokens by these scores `(N, h, T, S)`."""
    count, heads, length = scores.shape[:3]
    weight, bias = affine(output_of(attention))
    value = attention.v_proj(tokens).view(count, length, heads, -1)
    value = torch.einsum("nthd,chd->nhtc", value, weight.view(len(weight), heads, -1))
    value[:, 0] += bias  # the shares of each head add up to one, so any head can bring the bias
    share = scores.softmax(2).flatten(1, 2)
    return keys.baddbmm_(share.transpose(1, 2), value.flatten(1, 2))


def output_of(attention: Any) -> Any:
    """The last projection, which SAM and SAM 2 name differently."""
    return attention.o_proj if hasattr(attention, "o_proj") else attention.out_proj


def affine(linear: Any) -> tuple[Tensor, Tensor]:
    """The `(out, in)` weight and the bias of a linear layer, of a quantised one too."""
    if type(linear) is nn.Linear:
        return linear.weight, linear.bias
    bias: Tensor = linear.bias
    weight: Tensor = linear(torch.eye(linear.in_features, dtype=bias.dtype, device=bias.device)) - bias
    return weight.T, bias
