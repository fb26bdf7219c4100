"""Ours and the peer's, run in turn in one process on the same inputs: medians, ratios and their spread."""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import chip, environment, wait

Setting = dict[str, Any]
"""A setting of the peer: "dtype", "batch_size", "num_workers"."""


@dataclass
class Measurement:
    """Items per second of each counted run."""

    name: str
    rates: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    def __str__(self) -> str:
        return f"{self.name:<44} {self.median:9.2f} /s   ({min(self.rates):.2f} … {max(self.rates):.2f})"


def in_turn(runs: dict[str, Callable[[], Any]], items: int, arguments: argparse.Namespace) -> dict[str, Measurement]:
    """Runs each in turn, A B C A B C …, so that a change of the machine's speed meets all of them alike.

    Args:
        runs: what is timed, from inputs to results.
        items: how many inputs each takes.
        arguments: `rounds` that count after `warmup` ones that do not, on a `device` that is idle when a run begins,
            and again before its time is taken.
    """
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(arguments.warmup + arguments.rounds):
        for name, run in runs.items():
            gc.collect()
            spent = _timed(run, arguments.device)
            if round_ >= arguments.warmup:
                rates[name].append(items / spent)
    return {name: Measurement(name, found) for name, found in rates.items()}


def settings(arguments: argparse.Namespace) -> list[Setting]:
    """All settings of the peer that were asked for."""
    names = {"dtype": "dtypes", "batch_size": "batch_sizes", "num_workers": "workers"}
    axes = {name: getattr(arguments, given) for name, given in names.items() if given in arguments}
    return [dict(zip(axes, each, strict=True)) for each in itertools.product(*axes.values())]


def sampled(inputs: Sequence[Any], arguments: argparse.Namespace, batch_size: int) -> Sequence[Any]:
    """The inputs on which a setting is tried: two of its batches at least, as far as there are any."""
    return inputs[: max(2 * batch_size, arguments.sample)]


def fastest(
    ready: Callable[[Setting], tuple[Callable[[], Any], int]], arguments: argparse.Namespace
) -> tuple[Setting, dict[str, float | str]]:
    """Tries the peer's settings and returns the fastest, with the items per second of each.

    One that fails is named with its error: some crash the peer or fill the device's memory, and that is a finding.

    Args:
        ready: gives what is timed in a setting, loaded and warm, and how many items it does.
        arguments: with the settings, and the `device`. On CUDA each setting runs once before it is timed, since kernels
            are chosen and memory is fetched then; a CPU would take minutes for it.

    Raises:
        RuntimeError: no setting works.
    """
    rates: dict[str, float | str] = {}
    best: tuple[float, Setting] = (0.0, {})
    for setting in settings(arguments):
        try:
            run, items = ready(setting)
            if arguments.device.startswith("cuda"):
                run()
            rate = items / _timed(run, arguments.device)
        except Exception as error:  # noqa: BLE001 - a setting that crashes is not its best, whatever it raises
            rates[label(setting)] = f"{type(error).__name__}: {error}"[:120]
            continue
        rates[label(setting)] = round(rate, 3)
        if rate > best[0]:
            best = (rate, setting)
    if not best[1]:
        raise RuntimeError(f"the peer works in no setting: {rates}")
    return best[1], rates


def of_call(setting: Setting) -> Setting:
    """What a call of the peer takes of a setting: all but the dtype, in which it was loaded."""
    return {name: value for name, value in setting.items() if name != "dtype"}


def label(setting: Setting) -> str:
    """A setting in words: `"bfloat16, batch 32, 8 workers"`."""
    words = {"batch_size": "batch {}", "num_workers": "{} workers"}
    return ", ".join(words.get(name, "{}").format(value) for name, value in setting.items())


def ratio(a: Measurement, b: Measurement) -> str:
    """The median of the ratios A/B, round by round, and their spread."""
    each = [x / y for x, y in zip(a.rates, b.rates, strict=True)]
    return f"{statistics.median(each):.2f}×   ({min(each):.2f} … {max(each):.2f})"


def ratio_value(a: Measurement, b: Measurement) -> float:
    return statistics.median(x / y for x, y in zip(a.rates, b.rates, strict=True))


def compared(found: dict[str, Measurement]) -> dict[str, Any]:
    """Prints all rates, and what ours are of the peer's; returns both as `save` takes them.

    Args:
        found: the peer at its defaults, at its best, maybe in float32 at its best batch; then ours, whose names say so.
    """
    defaults, best, *_ = found.values()
    float32 = next((m for name, m in found.items() if name.startswith("peer, float32, best")), None)
    ratios: dict[str, dict[str, float]] = {}
    for measurement in found.values():
        print(f"  {measurement}")
    for name, ours in found.items():
        if not name.startswith("ours"):
            continue
        print(f"  {name}: {ratio(ours, defaults)} the peer's defaults, {ratio(ours, best)} its best")
        ratios[name] = {"defaults": ratio_value(ours, defaults), "best": ratio_value(ours, best)}
        if float32 is not None and "float32" in name:
            print(f"  {name}: {ratio(ours, float32)} the peer in float32 at its best batch")
            ratios[name]["float32"] = ratio_value(ours, float32)
    return {"measurements": as_rows(list(found.values())), "ratios": ratios}


def save(name: str, figures: dict[str, Any], arguments: argparse.Namespace) -> Path | None:
    """Writes the figures with their environment as JSON, named by the chip and what it can do; None if told not to."""
    if arguments.no_save:
        return None
    folder: Path = arguments.results
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{chip(arguments.device)}.json"
    told = {"environment": environment(arguments.device), **figures}
    path.write_text(json.dumps(told, indent=2, default=_plain) + "\n", encoding="utf-8")
    print(f"written to {path}")
    return path


def photographs(folder: Path, count: int, *, size: tuple[int, int] = (500, 375), seed: int = 0) -> list[str]:
    """JPEGs with the spectrum of photographs (power falls with the square of frequency), about 50 KB each."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    width, height = size
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / width) ** 1.2
    paths = []
    for i in range(count):
        path = folder / f"{width}x{height}-{i:05d}.jpg"
        paths.append(str(path))
        if path.exists():
            continue
        rng = np.random.default_rng(seed + i)
        planes = []
        for _ in range(3):
            spectrum = falloff * np.exp(2j * np.pi * rng.random(falloff.shape))
            plane = np.fft.irfft2(spectrum, (height, width))
            planes.append(plane / plane.std())
        grey = planes[0][..., None]
        values = 127 + 45 * (0.8 * grey + 0.35 * np.stack(planes, -1))
        Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path, quality=92)
    return paths


def as_rows(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    return [{**asdict(m), "median": m.median} for m in measurements]


def _timed(run: Callable[[], Any], device: str) -> float:
    wait(device)
    began = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - began


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)
