"""Sampling of feature maps in float32, whatever the model's dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import grid_sample
from torch.overrides import TorchFunctionMode


def float32_sampling(dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Within it, `grid_sample` works in float32 and gives its input's dtype; deformable attention is made of it.

    Half precision has too few digits for a place on a map: near 80 px, bfloat16 has steps of half a px. And on
    the CPU torch 2.13 reads beyond the end of maps in half precision that are not contiguous, which gives NaN or ends
    the process.

    Args:
        dtype: of the model; nothing is done for float32, nor while compiling, as inductor's own kernel is in float32.
    """
    if dtype == torch.float32 or torch.compiler.is_compiling():
        return nullcontext()
    return _Float32Sampling()


class _Float32Sampling(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        arguments = dict(kwargs or {})
        if func is not grid_sample:
            return func(*args, **arguments)
        names = ("input", "grid", "mode", "padding_mode", "align_corners")
        arguments |= dict(zip(names, args, strict=False))
        maps, places = arguments.pop("input"), arguments.pop("grid")
        return func(maps.float(), places.float(), **arguments).to(maps.dtype)
