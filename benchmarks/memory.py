"""Streams many pictures and watches the memory of the process.

    python -m benchmarks.memory --images 20000

Prints the resident set after the first 1,000 pictures and at the end, and on a card what torch has taken of its memory;
the goal is 50 MB of growth at most.
"""

from __future__ import annotations

import itertools
import tempfile
import warnings
from pathlib import Path

import psutil
import torch

import sensorium
from benchmarks.arguments import Parser
from benchmarks.harness import photographs, save
from benchmarks.overhead import tiny_vit


def growth(name: str, readings: list[tuple[int, float]]) -> float:
    """Prints megabytes after the first reading, at the end and at most; returns what the end is above the first."""
    first, last = readings[0][1], readings[-1][1]
    highest = max(mb for _, mb in readings)
    print(
        f"{name}: {first:.0f} MB after {readings[0][0]:,} pictures, {last:.0f} MB at the end, {highest:.0f} MB at most"
    )
    print(f"growth {last - first:+.1f} MB, at most {highest - first:+.1f} MB")
    return last - first


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--images", type=int, default=20_000)
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    files = photographs(folder / "photographs", 64) + photographs(folder / "photographs", 16, size=(640, 480))
    tiny = tiny_vit(folder / "tiny-vit")
    pipe = sensorium.pipeline("image-classification", tiny, device=arguments.device, compile=False)
    process, on_card = psutil.Process(), arguments.device.startswith("cuda")
    every = min(1000, arguments.images)
    held: dict[str, list[tuple[int, float]]] = {"resident set": [], **({"card": []} if on_card else {})}
    source = itertools.islice(itertools.cycle(files), arguments.images)
    for result in pipe.stream(source, total=arguments.images):
        if (result.index + 1) % every == 0:
            held["resident set"].append((result.index + 1, process.memory_info().rss / 2**20))
            if on_card:
                held["card"].append((result.index + 1, torch.cuda.memory_reserved(arguments.device) / 2**20))
    figures = {name: {"readings_mb": found, "growth_mb": growth(name, found)} for name, found in held.items()}
    save("memory", {"images": arguments.images, **figures}, arguments)


if __name__ == "__main__":
    main()
