"""What share of the chip's own bound, the rate of large matrix products, a run reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from benchmarks.harness import Measurement
from benchmarks.machine import environment


def _attention(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


_NOT_COUNTED_BY_TORCH = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""Attention as CPUs run it."""


def operations(pipe: Any, inputs: Sequence[Any]) -> float:
    """Floating-point operations that an eager pipeline does for an input, on average: those of products."""
    with FlopCounterMode(display=False, custom_mapping=_NOT_COUNTED_BY_TORCH) as counter:
        pipe(inputs)
    return counter.get_total_flops() / len(inputs)


def shares_of_bound(
    found: Mapping[str, Measurement], pipes: Mapping[str, Any], inputs: Sequence[Any], device: str
) -> dict[str, Any]:
    """Prints the share of each of our rows; returns all, and the operations of an input, as `save` takes them.

    Args:
        found: the rows, in inputs a second.
        pipes: ours by the names of their rows; the first runs eagerly.
        inputs: what is counted on: some of the inputs.
        device: where they ran.
    """
    each = operations(next(iter(pipes.values())), inputs)
    shares = {}
    for name, pipe in pipes.items():
        dtype = str(pipe.placement.dtype).removeprefix("torch.")
        bound = environment(device)["tflops"].get(dtype)
        if bound is not None and name in found:
            shares[name] = round(found[name].median * each / (bound * 1e12), 4)
            print(f"  {name}: {shares[name]:.0%} of the {bound:g} TFLOPS that products reach in {dtype}")
    return {"flops": each, "share_of_bound": shares}
