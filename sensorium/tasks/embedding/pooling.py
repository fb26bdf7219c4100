"""From the hidden states of a text's tokens to one vector."""

from __future__ import annotations

import torch
from torch import Tensor

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""The kinds of pooling, in the order in which sentence-transformers puts several beside each other."""


def pool(hidden: Tensor, counted: Tensor, mode: str) -> Tensor:
    """Pool each row over the tokens that count.

    Args:
        hidden: `(B, L, D)` hidden states.
        counted: `(B, L)` int64, 1 for the tokens that count, at least one per row.
        mode: one of `MODES`. "weightedmean" weighs each token by its place in the row, from 1.

    Returns:
        `(B, D)` float32.
    """
    if mode in ("cls", "lasttoken"):
        places = torch.arange(counted.shape[1], device=counted.device)
        first = torch.where(counted > 0, places, counted.shape[1]).amin(1)
        at = first if mode == "cls" else torch.where(counted > 0, places, -1).amax(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), at].float()
    if mode == "max":
        return hidden.masked_fill(counted[..., None] == 0, float("-inf")).amax(1).float()
    weights = counted.to(hidden.dtype)
    if mode == "weightedmean":
        weights = (counted * torch.arange(1, counted.shape[1] + 1, device=counted.device)).float()
        hidden = hidden.float()
    total = (hidden * weights[..., None]).sum(1, dtype=torch.float32)
    count = weights.sum(1, keepdim=True, dtype=torch.float32)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)
