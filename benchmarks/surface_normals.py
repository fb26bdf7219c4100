"""A folder of 640×480 JPEGs through TIPSv2's normals (random weights), and through a plain loop over the reference.

    python -m benchmarks.surface_normals --images 8
    python -m benchmarks.surface_normals --drift

The reference is Transformers' processor, model and `post_process_normal_estimation`, called as its documentation shows.
Prints it at its defaults (float32, a picture at a time), at its best of dtype × pictures at a time, and ours, in
pictures per second of whole runs from file names to vectors; and with `--drift` how far bfloat16 turns vectors.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, photographs, sampled, save

NAME = "surface-normals"


def checkpoint(folder: Path) -> Path:
    """Saves the model as google/tipsv2-b14-dpt is configured, with random weights."""
    import torch
    from transformers import Tipsv2DptConfig, Tipsv2DptForNormalEstimation, Tipsv2DptImageProcessor

    place = folder / "tipsv2-normals"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        Tipsv2DptForNormalEstimation(Tipsv2DptConfig()).eval().save_pretrained(place)
        Tipsv2DptImageProcessor().save_pretrained(place)
    return place


def peer(place: Path, device: str, dtype: str) -> Any:
    """A function that runs the reference over files, some at a time."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForNormalEstimation

    model = AutoModelForNormalEstimation.from_pretrained(place, dtype=getattr(torch, dtype)).to(device).eval()
    processor = AutoImageProcessor.from_pretrained(place)

    def run(paths: Sequence[str], at_once: int = 1) -> Iterator[Any]:
        for start in range(0, len(paths), at_once):
            images = [Image.open(path) for path in paths[start : start + at_once]]
            given = processor(images, return_tensors="pt").to(device, dtype=getattr(torch, dtype))
            with torch.inference_mode():
                outputs = model(**given)
            sizes = [(image.height, image.width) for image in images]
            for found in processor.post_process_normal_estimation(outputs, target_sizes=sizes):
                yield found["normals"].float().cpu().permute(1, 2, 0).numpy()

    return run


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import sensorium

    images = photographs(folder / "photographs", arguments.images, size=(640, 480))
    place, device = checkpoint(folder), arguments.device
    peers = functools.cache(functools.partial(peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        one, sample = peers(setting["dtype"]), sampled(images, arguments, setting["batch_size"])
        list(one(images[:1]))
        return lambda: list(one(sample, setting["batch_size"])), len(sample)

    best, tried = fastest(ready, arguments)
    mine = {
        "ours, float32, eager": sensorium.pipeline(NAME, place, device=device, dtype="float32", compile=False),
        "ours, defaults": sensorium.pipeline(NAME, place, device=device),
    }
    for theirs, result in zip(peers("float32")(images[:1]), mine["ours, float32, eager"](images[:1]), strict=True):
        unit = theirs / np.linalg.norm(theirs, axis=-1, keepdims=True)
        assert np.median(np.abs(unit - result.normals)) < 1e-3, "what is compared must do the same work"
    runs = {
        "peer, defaults (float32, a picture at a time)": lambda: list(peers("float32")(images)),
        f"peer, best ({label(best)})": lambda: list(peers(best["dtype"])(images, best["batch_size"])),
        **{key: (lambda pipe=pipe: pipe(images)) for key, pipe in mine.items()},
    }
    found = in_turn(runs, len(images), arguments)
    figures = {**compared(found), **shares_of_bound(found, mine, images[:2], device)}
    return {**figures, "peer_settings_tried": tried, "stats": {key: pipe.stats() for key, pipe in mine.items()}}


def drift(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """How far bfloat16 turns vectors, degrees."""
    import sensorium

    images = photographs(folder / "photographs", arguments.images, size=(640, 480))
    place, settings = checkpoint(folder), {"device": arguments.device, "compile": False}
    with (
        sensorium.pipeline(NAME, place, dtype="float32", **settings) as exact,
        sensorium.pipeline(NAME, place, dtype="bfloat16", **settings) as fast,
    ):
        pairs = list(zip(exact(images), fast(images), strict=True))
    turned = np.concatenate(
        [np.degrees(np.arccos((a.normals * b.normals).sum(-1).clip(-1, 1))).ravel() for a, b in pairs]
    )
    figures = {
        "turned by, median": float(np.median(turned)),
        "turned by, 95th percentile": float(np.quantile(turned, 0.95)),
        "turned by, at most": float(turned.max()),
    }
    print(", ".join(f"{key} {value:.3f} degrees" for key, value in figures.items()))
    return figures


def parser() -> Parser:
    found = Parser(__doc__, rounds=3)
    found.count("--images", 8, 256)
    found.peer_settings(4, batch_sizes=(1, 4))
    found.add_argument("--drift", action="store_true", help="measure bfloat16's drift and nothing else")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    work = drift if arguments.drift else run
    save(f"{NAME}-drift" if arguments.drift else NAME, work(arguments, folder), arguments)


if __name__ == "__main__":
    main()
