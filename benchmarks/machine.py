"""The machine that figures are taken on: its devices, its name in the names of files, and how fast it multiplies."""

from __future__ import annotations

import functools
import itertools
import platform
import re
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

FEATURES = ("amx_bf16", "avx512_bf16", "bf16", "avx512_vnni", "avx512f", "avx_vnni", "avx2")
"""What decides how fast a CPU multiplies, best first; the best that one has is part of its name."""

WIDTHS = (8, 768, 3072)
"""Rows, inner width and columns of a matrix product of ViT-B/16; rows are doubled until it is long enough."""

SHORTEST_S = {"cuda": 5e-4, "cpu": 2e-2}
"""A product shorter than this is mostly the time of starting it, and of moving what it reads."""


def wait(device: torch.device | str) -> None:
    """Returns when the device has done all that it was told to do."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(call: Callable[[], Any], device: torch.device | str, *, calls: int = 10, warmup_s: float = 0.2) -> float:
    """The device's median time for one of several calls in a row, s; on CUDA told by events.

    Args:
        call: what is timed.
        device: where it runs.
        calls: how many are timed.
        warmup_s: for how long it runs before, until clocks have risen, caches are full and kernels are chosen.
    """
    warm = time.perf_counter() + warmup_s
    call()
    wait(device)
    while time.perf_counter() < warm:
        call()
        wait(device)
    device = torch.device(device)
    spans = _spans_on_cuda(call, device, calls) if device.type == "cuda" else _spans(call, device, calls)
    return statistics.median(spans)


def product_rates(device: torch.device | str) -> dict[str, float]:
    """10^12 operations per second of a large matrix product in each dtype that a model may have there.

    They bound what any way of running a model of matrix products can reach, and tell machines of one name apart. Those
    of int8, with sums in int32, are told of CPUs that multiply it natively.
    """
    from sensorium.retrieval.dense.coarse import multiplies_int8

    cuda, rates = torch.device(device).type == "cuda", {}
    for dtype in ("float32", "float16", "bfloat16") if cuda else ("float32", "bfloat16"):
        rows, inner, columns = WIDTHS
        spent = 0.0
        while spent < SHORTEST_S["cuda" if cuda else "cpu"]:
            rows *= 2
            product = _product(rows, inner, columns, dtype=getattr(torch, dtype), device=device)
            spent = seconds(product, device, calls=1, warmup_s=0)
        rates[dtype] = round(2e-12 * rows * inner * columns / seconds(product, device), 4)
    if not cuda and multiplies_int8():
        left, right = (torch.randint(-127, 128, size, dtype=torch.int8) for size in ((1_576, 768), (3_072, 768)))
        spent = seconds(lambda: torch._int_mm(left, right.T), device)
        rates["int8"] = round(2e-12 * len(left) * left.shape[1] * len(right) / spent, 4)
    return rates


def copy_rate(device: torch.device | str) -> float:
    """Bytes per second that a large copy within the device's memory reads and writes."""
    source = torch.empty(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), device)


@functools.cache
def environment(device: str) -> dict[str, Any]:
    """What the figures were taken on; `tflops` is measured the first time that it is asked for."""
    from sensorium.pipelines.placement import cpu_features

    names = ("sensorium", "torch", "torchvision", "transformers", "timm", "pillow")
    return {
        "cpu": _cpu_name(),
        "cpu_features": sorted(cpu_features()),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": _card(device),
        "cuda": torch.version.cuda,
        "tflops": product_rates(device),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def chip(device: torch.device | str) -> str:
    """The name of what runs the models, for names of files: the card's, or the CPU's with the best it can do."""
    from sensorium.pipelines.placement import cpu_features

    card = _card(device)
    if card is not None:
        return _slug(card)
    here = cpu_features()
    return "-".join([_slug(_cpu_name()), *[feature for feature in FEATURES if feature in here][:1]])


def _product(rows: int, inner: int, columns: int, **where: Any) -> Callable[[], torch.Tensor]:
    a, b = torch.randn(rows, inner, **where), torch.randn(inner, columns, **where)
    return lambda: a @ b


def _spans(call: Callable[[], Any], device: torch.device, calls: int) -> list[float]:
    marks = [time.perf_counter()]
    for _ in range(calls):
        call()
        wait(device)
        marks.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(marks)]


def _spans_on_cuda(call: Callable[[], Any], device: torch.device, calls: int) -> list[float]:
    with torch.cuda.device(device):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(calls + 1)]
        marks[0].record()
        for mark in marks[1:]:
            call()
            mark.record()
        marks[-1].synchronize()
    return [before.elapsed_time(after) / 1e3 for before, after in itertools.pairwise(marks)]


def _card(device: torch.device | str) -> str | None:
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")
