"""Attention in bfloat16 on CPUs whose fused kernel does not multiply in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sensorium.pipelines.placement import cpu_features

BLOCK = 2**21
"""Scores of a block; those of some heads, 4 MiB, so that they are still in the cache when they are used."""

FEWEST = 96
"""Queries and keys from which the written-out products win over the fused kernel."""


def written_out(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Scaled dot-product attention by two matrix products, some heads at a time.

    Args:
        query: (batch, heads, queries, width).
        key: (batch, heads, keys, width).
        value: (batch, heads, keys, value width).
        mask: broadcasts to (batch, heads, queries, keys); bool (True takes part) or added to the scores.
        scale: of the scores.

    Returns:
        (batch, heads, queries, value width). The scores are rounded to the inputs' dtype before the softmax.
    """
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    shape = (batch, queries, heads, value.shape[3])  # as models lay it out for the projection that follows
    result = torch.empty(shape, dtype=query.dtype, device=query.device).transpose(1, 2)
    added = None if mask is None else _to_add(mask, query.dtype).expand(batch, -1, -1, -1)
    some = max(1, min(heads, BLOCK // (queries * keys)))
    empty = query.new_empty(())
    for i in range(batch):
        for first in range(0, heads, some):
            part = slice(first, first + some)
            scores = torch.baddbmm(empty, query[i, part], key[i, part].mT, beta=0, alpha=scale)
            if added is not None:
                scores += added[i] if added.shape[1] == 1 else added[i, part]
            result[i, part] = torch.bmm(scores.softmax(-1), value[i, part])
    return result


def _to_add(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of four dimensions to add to scores, without -inf: a query that may look at nothing gives no NaN."""
    lowest = torch.finfo(dtype).min
    if mask.dtype == torch.bool:
        added = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, lowest)
    else:
        added = mask.to(dtype).clamp_min(lowest)
    return added[(None,) * (4 - mask.dim())]


class WrittenOut(TorchFunctionMode):
    """Replaces `scaled_dot_product_attention` in this thread where the written-out products are faster.

    torch's fused kernel for CPUs takes bfloat16 products from MKL, which on AMD's chips gives them no more speed than
    float32 ones (125 GFLOPS of 410 on two cores of Zen 4, torch 2.13). oneDNN, which multiplies all else, does.

    Attributes:
        replaced: how many calls were replaced. The mode costs a microsecond for each call of torch, which a small model
            without long sequences would notice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replaced = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **more: Any
    ) -> Tensor:
        scale = more.get("scale")
        plain = not args and not any(setting for name, setting in more.items() if name != "scale")
        if not (plain and is_faster(query, key)):
            return F.scaled_dot_product_attention(query, key, value, attn_mask, *args, **more)
        self.replaced += 1
        return written_out(query, key, value, attn_mask, 1 / math.sqrt(query.shape[3]) if scale is None else scale)


def is_faster(query: Tensor, key: Tensor) -> bool:
    """Whether the written-out products suit these tensors, and win."""
    return (
        query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and query.dim() == 4
        and query.shape[:2] == key.shape[:2]
        and min(query.shape[2], key.shape[2]) >= FEWEST
    )


def applies(device: torch.device, dtype: torch.dtype | None) -> bool:
    """Whether eager forward passes on this device, in this dtype, are worth running under `WrittenOut`."""
    features = cpu_features() if device.type == "cpu" else frozenset()
    return "avx512_bf16" in features and "amx_bf16" not in features and dtype in (torch.bfloat16, None)
