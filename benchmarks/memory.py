"""Streams many pictures and watches the memory of the process.

    python -m benchmarks.memory --images 20000

Prints the resident set after the first 1,000 pictures and at the end; the goal is 50 MB of growth at most.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import warnings
from pathlib import Path

import psutil

import sensorium
from benchmarks.harness import photographs, save
from benchmarks.overhead import tiny_vit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    files = photographs(folder / "photographs", 64) + photographs(folder / "photographs", 16, size=(640, 480))
    pipe = sensorium.pipeline("image-classification", tiny_vit(folder / "tiny-vit"), device="cpu", compile=False)
    process = psutil.Process()
    readings: list[tuple[int, float]] = []
    source = itertools.islice(itertools.cycle(files), arguments.images)
    for result in pipe.stream(source, total=arguments.images):
        if (result.index + 1) % 1000 == 0:
            readings.append((result.index + 1, process.memory_info().rss / 2**20))
    first, last = readings[0][1], readings[-1][1]
    highest = max(mb for _, mb in readings)
    print(
        f"{arguments.images} pictures: {first:.0f} MB after 1,000, {last:.0f} MB at the end, {highest:.0f} MB at most"
    )
    print(f"growth {last - first:+.1f} MB, at most {highest - first:+.1f} MB")
    save("memory", {"images": arguments.images, "readings_mb": readings, "growth_mb": last - first})


if __name__ == "__main__":
    main()
