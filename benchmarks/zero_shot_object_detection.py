"""80 labels in 640×480 JPEGs through OWL-ViT base (random weights), and through the peer's pipeline.

    python -m benchmarks.zero_shot_object_detection --images 8
    python -m benchmarks.zero_shot_object_detection --images 1 --peer-images 1 --rounds 1 --layers 4

The peer's pipeline prepares and runs the picture anew for each label, so it sees fewer pictures. Prints pictures per
second of whole runs from file names to boxes, the peer at its default and in its best batch, and ours.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import as_rows, in_turn, photographs, save
from benchmarks.zero_shot_image_classification import names, tokenizer_of_clip


def checkpoint(folder: Path, layers: int) -> Path:
    """Saves OWL-ViT base with patches of 32 px and random weights, whose best scores lie above 0.1."""
    import torch
    from transformers import OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessor, OwlViTProcessor

    place = folder / f"owlvit-{layers}"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        sizes = {"num_hidden_layers": layers}
        model = OwlViTForObjectDetection(OwlViTConfig(text_config=sizes, vision_config=sizes)).eval()
        model.save_pretrained(place)
        OwlViTProcessor(OwlViTImageProcessor(), tokenizer_of_clip("<pad>", length=16)).save_pretrained(place)
    return place


def compare(place: Path, paths: list[str], labels: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    import transformers

    import sensorium

    task, device = "zero-shot-object-detection", arguments.device
    asked: dict[str, Any] = {"candidate_labels": labels, "threshold": 0.0, "top_k": 100}
    peer = transformers.pipeline(task, model=str(place), device=device)
    few = paths[: arguments.peer_images]
    rates, expected = {}, []
    for size in dict.fromkeys((1, arguments.peer_batch_size)):
        began = time.perf_counter()
        expected = [peer(path, **asked, batch_size=size) for path in few]
        rates[size] = len(few) / (time.perf_counter() - began)
        print(f"  peer, pipeline, float32, {size} labels a batch: {rates[size]:.4f} /s (on {len(few)} pictures, once)")
    mine = {
        "ours, float32, eager": sensorium.pipeline(task, place, device=device, dtype="float32", compile=False),
        "ours, defaults": sensorium.pipeline(task, place, device=device),
    }
    exact = mine["ours, float32, eager"](few, **asked)
    for theirs, result in zip(expected, exact, strict=True):  # what is compared must do the same work
        np.testing.assert_allclose([row["score"] for row in theirs], result.scores, atol=1e-4)
    runs = {name: (lambda pipe=pipe: pipe(paths, **asked)) for name, pipe in mine.items()}
    found = in_turn(runs, len(paths), arguments)
    for measurement in found.values():
        print(f"  {measurement}: {measurement.median / rates[1]:.1f}× the pipeline's default, "
              f"{measurement.median / max(rates.values()):.1f}× its best")  # fmt: skip
    shares = shares_of_bound(found, mine, paths[:2], device, run=lambda pipe, some: pipe(some, **asked))
    ratios = {
        f"{name}, of the pipeline's {which}": measurement.median / rate
        for name, measurement in found.items()
        for which, rate in (("default", rates[1]), ("best", max(rates.values())))
    }
    return {"measurements": as_rows(list(found.values())), "peer_rates": rates, "ratios": ratios, **shares}


def parser() -> Parser:
    found = Parser(__doc__, rounds=3)
    found.add_argument("--labels", type=int, default=80)
    found.count("--images", 8, 256)
    found.add_argument("--peer-images", type=int, default=1, help="for the pipeline, which runs once for each label")
    found.add_argument(
        "--peer-batch-size", type=int, default=8, help="labels in a batch of the pipeline's, at its best"
    )
    found.add_argument("--layers", type=int, default=12, help="fewer to try the script out")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    place, labels = checkpoint(folder, arguments.layers), names(arguments.labels)
    paths = photographs(folder / "photographs", arguments.images, size=(640, 480))
    save("zero-shot-object-detection", compare(place, paths, labels, arguments), arguments)


if __name__ == "__main__":
    main()
