"""The modes of compiling, and which of two compiled functions is faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

DEFAULT, TUNED = "default", "max-autotune-no-cudagraphs"

RECORDED = "cudagraphs"
"""Not compiled: what the function launches is recorded as a CUDA graph."""

ROUNDS = 7
"""How often each of two is called to tell which is faster."""


@dataclass(frozen=True)
class Compiled:
    """A function that is compiled for a shape.

    Attributes:
        mode: of `torch.compile`, or "cudagraphs" where it is only recorded.
        call: runs it.
        key: what its CUDA graph is found by, if it has one.
        graph: "captured", or why there is none; None on the CPU.
        cache: whether it was "read" or "written", or why neither.
    """

    mode: str
    call: Callable[..., Any]
    key: Hashable
    graph: str | None
    cache: str


def options_of(mode: str) -> dict[str, Any]:
    """Inductor's settings for a mode."""
    return {} if mode == DEFAULT else dict(torch._inductor.list_mode_options(mode))


def milliseconds(device: torch.device, *calls: Callable[[], Any]) -> list[float]:
    """What each call takes, the median of some; they take turns, so that what else runs disturbs them alike."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(1 + ROUNDS):
        for call, times in zip(calls, taken, strict=True):
            _wait_for(device)
            began = time.perf_counter()
            call()
            _wait_for(device)
            times.append((time.perf_counter() - began) * 1000)
    return [round(median(times[1:]), 3) for times in taken]


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
