"""What the engine itself costs: with a model that does nothing, and for one call against Transformers' pipeline.

    python -m benchmarks.overhead
    python -m benchmarks.overhead --device cuda

Engine overhead is the wall time an item beyond decoding and fitting the same pictures in a plain loop on as many
threads; it is the CPU's, whatever the device. One-call latency is measured on a small model, where whatever is around
the forward shows most.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

import sensorium
from benchmarks.arguments import Parser
from benchmarks.harness import in_turn, photographs, ratio, ratio_value, save
from sensorium.processors.media import load_image


class Nothing(nn.Module):
    """Logits without arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.config = type("Config", (), {"id2label": {i: str(i) for i in range(10)}, "problem_type": None})()
        self.config.to_dict = lambda: {}

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return pixel_values.new_zeros(len(pixel_values), 10)


def tiny_vit(folder: Path) -> Path:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, patch_size=32)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    return folder


def engine_overhead(images: list[str], processor: sensorium.ImageProcessor, rounds: int) -> dict:
    from sensorium.pipelines.pipeline import Pipeline
    from sensorium.pipelines.placement import Placement
    from sensorium.tasks.image_classification import ImageClassification

    class Idle(ImageClassification):
        def compute(self, batch):
            return {"logits": torch.zeros(len(batch["pixel_values"]), 10)}

    task = Idle(Nothing(), processor)
    pipe = Pipeline(task, Placement(torch.device("cpu"), torch.float32), batch_size=16, compile=False)
    blobs = [Path(p).read_bytes() for p in images]

    def plain(blob: bytes) -> None:
        with torch.inference_mode():
            processor.fit(load_image(blob))

    pool = ThreadPoolExecutor(pipe._engine.workers, initializer=lambda: torch.set_num_threads(1))
    list(pool.map(plain, blobs[:16]))
    pipe(blobs[:16])
    costs = []
    for _ in range(rounds):
        began = time.perf_counter()
        list(pool.map(plain, blobs))
        bare = time.perf_counter() - began
        began = time.perf_counter()
        pipe(blobs)
        costs.append(((time.perf_counter() - began - bare) / len(blobs) * 1e6, bare / len(blobs) * 1e6))
    median, bare = statistics.median(c for c, _ in costs), statistics.median(b for _, b in costs)
    low, high = min(c for c, _ in costs), max(c for c, _ in costs)
    print(f"engine overhead: {median:.0f} µs an item ({low:.0f} … {high:.0f}) beyond {bare:.0f} µs of decode and fit")
    return {"median_us": median, "min_us": low, "max_us": high, "decode_and_fit_us": bare}


def one_call(folder: Path, images: list[str], arguments: argparse.Namespace) -> dict:
    import transformers

    device = arguments.device
    theirs = transformers.pipeline("image-classification", model=str(folder), device=device, dtype=torch.float32)
    ours = sensorium.pipeline("image-classification", folder, device=device, dtype="float32", compile=False)
    runs = {
        "peer, one call": lambda: [theirs(path) for path in images],
        "ours, one call": lambda: [ours(path) for path in images],
    }
    found = in_turn(runs, len(images), arguments)
    for measurement in found.values():
        print(measurement, f"   {1e3 / measurement.median:.2f} ms a call")
    print(f"ours: {ratio(found['ours, one call'], found['peer, one call'])} the peer's calls per second")
    return {
        "ratio": ratio_value(found["ours, one call"], found["peer, one call"]),
        "ms": {name: 1e3 / m.median for name, m in found.items()},
    }


def parser() -> Parser:
    found = Parser(__doc__, rounds=7)
    found.add_argument("--images", type=int, default=64)
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    images = photographs(folder / "photographs", arguments.images)
    tiny = tiny_vit(folder / "tiny-vit")
    overhead = engine_overhead(images * 4, sensorium.ImageProcessor.from_pretrained(tiny), arguments.rounds)
    save("overhead", {"engine": overhead, "one_call": one_call(tiny, images, arguments)}, arguments)


if __name__ == "__main__":
    main()
