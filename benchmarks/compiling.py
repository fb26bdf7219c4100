"""What the first process and a later one pay for compiling: `python -m benchmarks.compiling [--device cuda]`.

Both have imported everything and built the model, and run `pipeline(…, compile=True).warmup()`; they share a cache
folder that is empty at first. Prints the seconds of both, and of each shape the seconds, what the cache had of it, and
the mode. Of several rounds each has later processes of its own; nothing is run before that does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

import timm
import torch

import sensorium
from benchmarks.arguments import Parser
from benchmarks.harness import save

WIDTHS = {"tiny": {"embed_dim": 32, "depth": 4, "num_heads": 2}}


def measure(model: str, device: str, batch_size: int, compile: bool | str) -> dict[str, Any]:
    """Seconds of this process's warm-up, and what was compiled in it."""
    torch.manual_seed(0)
    name, settings = ("vit_tiny_patch16_224", WIDTHS["tiny"]) if model == "tiny" else (model, {})
    module = timm.create_model(name, num_classes=100, **settings)
    began = time.perf_counter()
    with sensorium.pipeline(
        "image-classification", module, device=device, dtype="float32", compile=compile, batch_size=batch_size
    ) as pipe:
        pipe.warmup()
        return {"seconds": round(time.perf_counter() - began, 2), "compiled": pipe.stats()["compiled"]}


def main() -> None:
    """Runs the processes for each model, or is one of them."""
    arguments = parser().parse_args()
    figures = {}
    for model in arguments.models:
        if arguments.one:
            mode = "max-autotune" if arguments.tune else True
            print(json.dumps(measure(model, arguments.device, arguments.batch_size, mode)))
            continue
        with tempfile.TemporaryDirectory() as folder:
            first, *later = (start(model, arguments, folder) for _ in range(1 + arguments.rounds))
        seconds = median(each["seconds"] for each in later)
        print(
            f"{model}: first process {first['seconds']} s, later ones {seconds} s ({first['seconds'] / seconds:.1f}×)"
        )
        for found in (first, later[-1]):
            for entry in found["compiled"]:
                facts = [f"{entry['seconds']} s", entry["cache"], entry["graph"], entry["mode"], entry["ms"]]
                print(f"  {entry['shapes'][0]}:", ", ".join(str(fact) for fact in facts if fact))
        figures[model] = {"first": first, "later": later}
    if not arguments.one:
        save("compiling", figures, arguments)


def parser() -> Parser:
    """The arguments."""
    found = Parser(__doc__, rounds=1)
    found.add_argument("--models", nargs="+", default=["resnet18", "vit_small_patch16_224"], help="timm's, or tiny")
    found.add_argument("--batch-size", type=int, default=8)
    found.add_argument("--tune", action="store_true", help='compile="max-autotune"')
    found.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return found


def start(model: str, arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    """A process of its own, whose compiled graphs are kept in the folder."""
    module = ["tests.on_pretend_cuda"] if os.environ.get("SENSORIUM_PRETEND_CUDA") else []
    command = [sys.executable, "-m", *module, "benchmarks.compiling", "--one", "--models", model]
    command += ["--device", arguments.device, "--batch-size", str(arguments.batch_size)]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": folder}
    command += ["--tune"] if arguments.tune else []
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return found


if __name__ == "__main__":
    main()
