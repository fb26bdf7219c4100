"""Ours and the peer's, run in turn in one process on the same inputs: medians, ratios and their spread."""

from __future__ import annotations

import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


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


def in_turn(
    runs: dict[str, Callable[[], Any]], items: int, *, rounds: int = 5, warmup: int = 1
) -> dict[str, Measurement]:
    """Runs each in turn, A B C A B C …, so that a change of the machine's speed meets all of them alike."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(warmup + rounds):
        for name, run in runs.items():
            gc.collect()
            began = time.perf_counter()
            run()
            seconds = time.perf_counter() - began
            if round_ >= warmup:
                rates[name].append(items / seconds)
    return {name: Measurement(name, found) for name, found in rates.items()}


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


def environment() -> dict[str, Any]:
    """What the figures were taken on."""
    import torch

    from sensorium.pipelines.placement import cpu_features

    names = ("sensorium", "torch", "torchvision", "transformers", "timm", "pillow")
    return {
        "cpu": _cpu_name(),
        "cpu_features": sorted(cpu_features()),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def save(name: str, figures: dict[str, Any], folder: Path = Path(__file__).parent / "results") -> Path:
    """Writes the figures with their environment as JSON."""
    folder.mkdir(exist_ok=True)
    here = environment()
    chip = (here["gpu"] or here["cpu"]).lower().replace(" ", "-").replace("/", "-")
    path = folder / f"{name}-{chip}.json"
    path.write_text(json.dumps({"environment": here, **figures}, indent=2, default=_plain) + "\n", encoding="utf-8")
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


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)
