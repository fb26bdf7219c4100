"""What share of the chip's own bound, the rate of large matrix products, a run reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from benchmarks.harness import Measurement
from benchmarks.machine import environment


def _attention(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


_NOT_COUNTED_BY_TORCH = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""Attention as CPUs run it."""


def operations(run: Callable[[], Any], inputs: int) -> float:
    """Floating-point operations that an eager run does for each of its inputs, on average: those of products."""
    with FlopCounterMode(display=False, custom_mapping=_NOT_COUNTED_BY_TORCH) as counter:
        run()
    return counter.get_total_flops() / inputs


def shares_of_bound(
    found: Mapping[str, Measurement],
    pipes: Mapping[str, Any],
    inputs: Sequence[Any],
    device: str,
    *,
    run: Callable[[Any, Sequence[Any]], Any] | None = None,
) -> dict[str, Any]:
    """Prints the share of each of our rows; returns all, and the operations of an input, as `save` takes them.

    Args:
        found: the rows, in inputs a second.
        pipes: ours by the names of their rows; the first runs eagerly.
        inputs: what is counted on: some of the inputs.
        device: where they ran.
        run: how a pipeline runs on inputs, if not by a call.
    """
    first = next(iter(pipes.values()))
    each = operations(lambda: first(inputs) if run is None else run(first, inputs), len(inputs))
    shares = {}
    for name, pipe in pipes.items():
        task = pipe.task if hasattr(pipe, "task") else pipe._passages.engine.task  # an Encoder's
        dtype = str(task.dtype).removeprefix("torch.")
        bound = environment(device)["tflops"].get(dtype)
        if bound is not None and name in found:
            shares[name] = round(found[name].median * each / (bound * 1e12), 4)
            print(f"  {name}: {shares[name]:.0%} of the {bound:g} TFLOPS that products reach in {dtype}")
    return {"flops": each, "share_of_bound": shares}
