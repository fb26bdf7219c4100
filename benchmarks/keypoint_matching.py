"""Pairs of pictures of 640×480 px through SuperGlue and LightGlue (random weights), against Transformers' pipeline.

    python -m benchmarks.keypoint_matching --images 16
    python -m benchmarks.keypoint_matching --drift

`--images` is the number of pairs: a picture, and the same turned a little. The peer at its defaults is its pipeline, in
float32; its best setting is the faster of its dtypes, pair by pair: in batches its LightGlue raises as soon as one pair
stops early. A picture has about a thousand points. `--drift` tells which share of the matches bfloat16 finds again.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, photographs, save
from benchmarks.keypoint_detection import sharpen, threshold_for


def checkpoint(folder: Path, name: str, image: str) -> Path:
    """The matcher in its real size."""
    import torch
    import transformers

    kind = {"superglue": "SuperGlue", "lightglue": "LightGlue"}[name]
    place = folder / name
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        least = {"filter_threshold": 0.0} if name == "lightglue" else {}  # random weights are never sure
        config = getattr(transformers, f"{kind}Config")(**least)
        model = getattr(transformers, f"{kind}ForKeypointMatching")(config).eval()
        sharpen(model.keypoint_detector)
        model.config.keypoint_detector_config.keypoint_threshold = threshold_for(model.keypoint_detector, image)
        model.save_pretrained(place)
        getattr(transformers, f"{kind}ImageProcessor")().save_pretrained(place)
    return place


def turned(folder: Path, images: list[str]) -> list[tuple[str, str]]:
    """Each picture with one that was turned by a few degrees."""
    from PIL import Image

    pairs = []
    for number, path in enumerate(images):
        other = folder / f"turned-{Path(path).name}"
        if not other.exists():
            Image.open(path).rotate(3 + number % 5, Image.Resampling.BICUBIC).save(other, quality=92)
        pairs.append((path, str(other)))
    return pairs


def peer(place: Path, device: str, dtype: str) -> Any:
    import torch
    import transformers

    return transformers.pipeline("keypoint-matching", model=str(place), device=device, dtype=getattr(torch, dtype))


def speed(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import sensorium

    images = photographs(folder / "photographs", arguments.images, size=(640, 480))
    pairs, place = turned(folder, images), checkpoint(folder, name, images[0])
    lists = [list(pair) for pair in pairs]
    peers = functools.cache(functools.partial(peer, place, arguments.device))

    def ready(setting: Setting) -> tuple[Any, int]:
        pipe, sample = peers(setting["dtype"]), lists[: arguments.sample]
        pipe(lists[0])
        return lambda: pipe(sample), len(sample)

    best, tried = fastest(ready, arguments)
    mine = {
        "ours, defaults": sensorium.pipeline("keypoint-matching", place, device=arguments.device),
        "ours, float32": sensorium.pipeline("keypoint-matching", place, device=arguments.device, dtype="float32"),
    }
    runs = {
        "peer, defaults (float32)": lambda: peers("float32")(lists),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(lists),
        **{key: (lambda pipe=pipe: pipe(pairs)) for key, pipe in mine.items()},
    }
    found = in_turn(runs, len(pairs), arguments)
    print(f"\n{name}, pairs a second")
    shares = shares_of_bound(found, mine, pairs[:2], arguments.device)
    return {**compared(found), **shares, "peer_settings_tried": tried}


def drift(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Which share of float32's matches bfloat16 finds again, both ends within 1 px, and how far scores move."""
    import sensorium

    images = photographs(folder / "photographs", min(arguments.images, 4), size=(640, 480))
    pairs, place = turned(folder, images), checkpoint(folder, name, images[0])
    results = [
        sensorium.pipeline("keypoint-matching", place, device=arguments.device, dtype=dtype, compile=False)(pairs)
        for dtype in ("float32", "bfloat16")
    ]
    again, scores, count = 0, [0.0], 0
    for exact, rounded in zip(*results, strict=True):
        count += len(exact)
        for a, b, score in zip(exact.xy0, exact.xy1, exact.scores, strict=True):
            near = np.maximum(np.abs(rounded.xy0 - a).max(axis=1), np.abs(rounded.xy1 - b).max(axis=1)) <= 1
            again += bool(near.any())
            scores += [float(abs(rounded.scores[near][0] - score))] if near.any() else []
    figures = {"matches": float(count), "found_again": again / max(count, 1), "largest_score_drift": max(scores)}
    print(f"{name}, bfloat16 against float32:", {key: round(value, 4) for key, value in figures.items()})
    return figures


def parser() -> Parser:
    found = Parser(__doc__)
    found.count("--images", 16, 64)
    found.peer_settings(8, batch_sizes=())
    found.add_argument("--drift", action="store_true", help="only measure how far bfloat16 drifts")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    measure = drift if arguments.drift else speed
    figures = {name: measure(name, arguments, folder) for name in ("superglue", "lightglue")}
    save("keypoint-matching-drift" if arguments.drift else "keypoint-matching", figures, arguments)


if __name__ == "__main__":
    main()
