"""The relative positions in the attention of SAM's image encoder, without a copy to the device in each layer."""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def keep_relative_places(model: nn.Module) -> None:
    """Makes a loaded SAM find its relative positions on its device; results stay as they are.

    Transformers' own method indexes with a tensor on the CPU, for which the host waits, twice in each layer.
    """
    for module in model.modules():
        if hasattr(module, "get_rel_pos") and hasattr(module, "rel_pos_h"):
            module.__dict__["get_rel_pos"] = types.MethodType(_relative, module)


def _relative(attention: Any, q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """`(q_size, k_size, C)`, the embedding of where each key lies, as seen from each query."""
    farthest = 2 * max(q_size, k_size) - 1
    resized = F.interpolate(rel_pos.reshape(1, rel_pos.shape[0], -1).transpose(1, 2), size=farthest, mode="linear")
    rows = resized.reshape(-1, farthest).permute(1, 0)
    places = _places if torch.compiler.is_compiling() else _places_kept  # dynamo would look behind the cache
    return rows[places(q_size, k_size, rel_pos.device)]


def _places(q_size: int, k_size: int, device: torch.device) -> Tensor:
    """`(q_size, k_size)` int64, the rows."""
    query = torch.arange(q_size, device=device)[:, None] * max(k_size / q_size, 1.0)
    key = torch.arange(k_size, device=device)[None, :] * max(q_size / k_size, 1.0)
    return ((query - key) + (k_size - 1) * max(q_size / k_size, 1.0)).long()


@functools.lru_cache(maxsize=64)
def _places_kept(q_size: int, k_size: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return _places(q_size, k_size, device)
