"""How briefly OpenMP's threads wait awake: Sensorium's setting against OpenMP's own, with idle cores and a busy one.

    python -m benchmarks.waiting

Each process runs a stream of small pictures through a tiny ViT, ResNet-18 on batches of 8 and of 1, and a small BERT on
one short text, an operation after the other; in turn with `GOMP_SPINCOUNT` as Sensorium sets it, and as OpenMP has it.
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
from sensorium.openmp import SPINS

OF_OPENMP = 300_000
"""How often GNU's spins unless it is told, and has no more threads than cores (libgomp, env.c)."""

RUN = """
import json, sys, time
import sensorium, timm, torch
from transformers import BertConfig, BertModel

def median_ms(run, count):
    run()
    found = []
    for _ in range(count):
        began = time.perf_counter()
        run()
        found.append(1e3 * (time.perf_counter() - began))
    return sorted(found)[count // 2]

model, images = sys.argv[1], sys.argv[2:]
pipe = sensorium.pipeline("image-classification", model, device="cpu", dtype="float32", compile=False, batch_size=8)
pipe.warmup()
rates = []
for _ in range(3):
    began = time.perf_counter()
    assert sum(1 for _ in pipe.stream(images)) == len(images)
    rates.append(len(images) / (time.perf_counter() - began))
resnet = timm.create_model("resnet18", pretrained=False).eval()
config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
bert, pictures, text = BertModel(config).eval(), torch.rand(8, 3, 224, 224), torch.randint(0, 1000, (1, 16))
with torch.inference_mode():
    print(json.dumps({
        "stream_per_s": sorted(rates)[1],
        "resnet18_8_ms": median_ms(lambda: resnet(pictures), 5),
        "resnet18_1_ms": median_ms(lambda: resnet(pictures[:1]), 11),
        "bert_1_ms": median_ms(lambda: bert(text), 61),
    }))
"""


def measure(model: Path, images: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of both settings, run in turn."""
    found: dict[str, list[dict[str, float]]] = {"sensorium": [], "openmp": []}
    for _ in range(rounds):
        for name, spins in (("sensorium", SPINS), ("openmp", OF_OPENMP)):
            env = {**os.environ, "GOMP_SPINCOUNT": str(spins)}
            env.pop("OMP_NUM_THREADS", None)
            command = [sys.executable, "-W", "ignore", "-c", RUN, str(model), *images]
            told = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
            found[name].append(json.loads(told))
    return {
        name: {figure: statistics.median(one[figure] for one in several) for figure in several[0]}
        for name, several in found.items()
    }


def main() -> None:
    made = Parser(__doc__, rounds=3)
    made.add_argument("--images", type=int, default=500)
    arguments = made.parse_args()
    kept = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    images, model = photographs(kept / "small", arguments.images, size=(160, 120)), tiny_vit(kept / "tiny-vit")
    figures: dict[str, Any] = {}
    for name, count in (("idle", 0), ("one core busy", 1)):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        try:
            figures[name] = measure(model, images, arguments.rounds)
        finally:
            for process in busy:
                process.kill()
        for figure, ours in figures[name]["sensorium"].items():
            theirs = figures[name]["openmp"][figure]
            print(f"{name:<14} {figure:<14} {ours:8.1f}   {theirs:8.1f} with OpenMP's own   {ours / theirs:.2f}")
    save("waiting", figures, arguments)


if __name__ == "__main__":
    main()
