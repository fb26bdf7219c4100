"""Relative positions in the attention of vision models, without a copy to the device in each layer.

Transformers indexes a table on the device with a tensor on the CPU, and the host waits while that is copied: in SAM's
encoder twice a layer, in BEiT's and Data2Vec's once.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def keep_relative_places(model: nn.Module) -> None:
    """Makes the layers of a loaded model find their relative positions on their device; results stay as they are."""
    for module in model.modules():
        if hasattr(module, "get_rel_pos") and hasattr(module, "rel_pos_h"):
            vars(module)["get_rel_pos"] = types.MethodType(_of_sam, module)
        make = getattr(module, "generate_relative_position_index", None)
        if (
            make is not None
            and not isinstance(make, functools.partial)
            and hasattr(module, "relative_position_bias_table")
        ):
            vars(module)["generate_relative_position_index"] = functools.partial(_of_beit, module, make)


def _of_sam(attention: Any, q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
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
    with torch.inference_mode(False):  # made on the CPU: what a stream makes on the device is not there for others yet
        return _places(q_size, k_size, torch.device("cpu")).to(device)


def _of_beit(bias: Any, make: Callable[[tuple[int, int]], Tensor], window_size: tuple[int, int]) -> Tensor:
    """`(1 + patches, 1 + patches)` int64, the row of the table for each pair of patches, the class token among them."""
    if torch.compiler.is_compiling():
        return make(window_size)
    return _index_kept(make, window_size, bias.relative_position_bias_table.device)


@functools.lru_cache(maxsize=16)
def _index_kept(
    make: Callable[[tuple[int, int]], Tensor], window_size: tuple[int, int], device: torch.device
) -> Tensor:
    with torch.inference_mode(False):
        return make(window_size).to(device)
