"""What it brings that the allocator keeps memory: Sensorium's setting against glibc's own.

    python -m benchmarks.allocating

Each process runs pictures of several sizes through ResNet-18 and a tiny ViT, 32 at a time; in turn with malloc's
thresholds as Sensorium sets them, and as glibc has them. Tells the rates, and the largest resident set of each process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.harness import photographs, save
from benchmarks.overhead import tiny_vit

SIZES = {"160x120": (160, 120), "640x480": (640, 480), "2048x1536": (2048, 1536)}

GLIBC = {"GLIBC_TUNABLES": "glibc.malloc.check=0"}
"""A setting of something else, by which Sensorium leaves the thresholds alone."""

RUN = """
import json, resource, sys, time
import sensorium, timm, torch

kind, model, images = sys.argv[1], sys.argv[2], sys.argv[3:]
if kind == "resnet18":
    torch.manual_seed(0)
    model = timm.create_model("resnet18", pretrained=False).eval()
pipe = sensorium.pipeline("image-classification", model, device="cpu", dtype="float32", compile=False, batch_size=32)
rates = []
for _ in range(4):
    began = time.perf_counter()
    assert sum(1 for _ in pipe.stream(images)) == len(images)
    rates.append(len(images) / (time.perf_counter() - began))
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "per_s": sorted(rates[1:])[1],
    "most_mb": used.ru_maxrss / 1024,
    "faults_a_picture": used.ru_minflt / len(images) / 4,
}))
"""


def measure(kind: str, model: Path, images: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of both settings, run in turn."""
    found: dict[str, list[dict[str, float]]] = {"sensorium": [], "glibc": []}
    for _ in range(rounds):
        for name, set_to in (("sensorium", {}), ("glibc", GLIBC)):
            command = [sys.executable, "-W", "ignore", "-c", RUN, kind, str(model), *images]
            told = subprocess.run(command, env={**os.environ, **set_to}, check=True, capture_output=True, text=True)
            found[name].append(json.loads(told.stdout))
    return {
        name: {figure: statistics.median(one[figure] for one in several) for figure in several[0]}
        for name, several in found.items()
    }


def main() -> None:
    made = Parser(__doc__, rounds=3)
    made.add_argument("--images", type=int, default=400)
    arguments = made.parse_args()
    kept = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    model = tiny_vit(kept / "tiny-vit")
    figures: dict[str, Any] = {}
    for kind in ("tiny-vit", "resnet18"):
        for name, size in SIZES.items():
            count = arguments.images if size[0] < 1000 and kind == "tiny-vit" else arguments.images // 4
            images = photographs(kept / name, count, size=size)
            figures[f"{kind} {name}"] = found = measure(kind, model, images, arguments.rounds)
            ours, theirs = found["sensorium"], found["glibc"]
            print(
                f"{kind:<9} {name:<9} {ours['per_s']:7.1f} pictures/s, {ours['most_mb']:5.0f} MB   "
                f"{theirs['per_s']:7.1f}, {theirs['most_mb']:5.0f} MB as glibc does   "
                f"{ours['per_s'] / theirs['per_s']:.2f}, {ours['most_mb'] / theirs['most_mb']:.2f}",
                flush=True,
            )
    save("allocating", figures, arguments)


if __name__ == "__main__":
    main()
