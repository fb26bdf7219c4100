"""64 pictures of 640×480 px through SuperPoint (random weights), against Transformers' model and processor by hand.

    python -m benchmarks.keypoint_detection --images 64
    python -m benchmarks.keypoint_detection --drift

Transformers has no pipeline for this task. The peer at its defaults is the loop of its documentation: float32, picture
by picture. Its best setting is the fastest of dtype × batch size, pictures decoded and prepared a batch at a time. Both
sides go from file names to points with scores and descriptors. The threshold is set so that a picture has about a
thousand points, as after training. `--drift` tells how far bfloat16 moves them.
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
from benchmarks.harness import Setting, compared, fastest, in_turn, label, photographs, sampled, save

POINTS = 1000


def sharpen(detector: Any) -> None:
    """Makes what a SuperPoint with random weights finds depend on the picture, as it does after training."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in detector.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
                module.bias.normal_(0, 0.02, generator=generator)
        detector.keypoint_decoder.conv_score_b.weight.mul_(8)


def threshold_for(detector: Any, image: str) -> float:
    """The score above which a picture has about `POINTS` points."""
    import torch
    from PIL import Image
    from transformers import SuperPointImageProcessor

    detector.keypoint_decoder.keypoint_threshold = 0.0
    with torch.inference_mode():
        scores = detector(**SuperPointImageProcessor()(Image.open(image), return_tensors="pt")).scores[0]
    return float(scores.sort(descending=True).values[min(POINTS, len(scores) - 1)])


def checkpoint(folder: Path, image: str) -> Path:
    """SuperPoint in its real size."""
    import torch
    from transformers import SuperPointConfig, SuperPointForKeypointDetection, SuperPointImageProcessor

    place = folder / "superpoint"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        model = SuperPointForKeypointDetection(SuperPointConfig()).eval()
        sharpen(model)
        model.config.keypoint_threshold = threshold_for(model, image)
        model.save_pretrained(place)
        SuperPointImageProcessor().save_pretrained(place)
    return place


class Peer:
    """Transformers' model and processor, as a competent user puts them together."""

    def __init__(self, place: Path, device: str, dtype: str) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModelForKeypointDetection

        self.dtype, self.device = getattr(torch, dtype), device
        self.processor = AutoImageProcessor.from_pretrained(place)
        self.model = AutoModelForKeypointDetection.from_pretrained(place, dtype=self.dtype).to(device).eval()

    def __call__(self, paths: list[str], batch_size: int = 1) -> list[dict[str, Any]]:
        import torch
        from PIL import Image

        found = []
        for start in range(0, len(paths), batch_size):
            images = [Image.open(path).convert("RGB") for path in paths[start : start + batch_size]]
            inputs = self.processor(images, return_tensors="pt").to(self.device, self.dtype)
            with torch.inference_mode():
                outputs = self.model(**inputs)
            sizes = [(image.height, image.width) for image in images]
            rows = self.processor.post_process_keypoint_detection(outputs, sizes)
            found += [{name: value.float().cpu().numpy() for name, value in row.items()} for row in rows]
        return found


def speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import sensorium

    images = photographs(folder / "photographs", arguments.images, size=(640, 480))
    place, device = checkpoint(folder, images[0]), arguments.device
    peers = functools.cache(functools.partial(Peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        peer, sample = peers(setting["dtype"]), sampled(images, arguments, setting["batch_size"])
        peer(images[:1])
        return lambda: peer(sample, setting["batch_size"]), len(sample)

    best, tried = fastest(ready, arguments)
    mine = {
        "ours, defaults": sensorium.pipeline("keypoint-detection", place, device=device),
        "ours, float32": sensorium.pipeline("keypoint-detection", place, device=device, dtype="float32"),
    }
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers("float32")(images),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(images, best["batch_size"]),
        **{key: (lambda pipe=pipe: pipe(images)) for key, pipe in mine.items()},
    }
    found = in_turn(runs, len(images), arguments)
    figures = {**compared(found), **shares_of_bound(found, mine, images[:4], device)}
    points = float(np.mean([len(result) for result in mine["ours, float32"](images[:8])]))
    stats = {key: pipe.stats() for key, pipe in mine.items()}
    return {**figures, "peer_settings_tried": tried, "points_a_picture": points, "stats": stats}


def drift(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """How far bfloat16 moves points and descriptors: px of the picture, and cosines."""
    import sensorium

    images = photographs(folder / "photographs", min(arguments.images, 8), size=(640, 480))
    place = checkpoint(folder, images[0])
    results = [
        sensorium.pipeline("keypoint-detection", place, device=arguments.device, dtype=dtype, compile=False)(images)
        for dtype in ("float32", "bfloat16")
    ]
    moved, cosines, drifts = [], [], []
    for exact, rounded in zip(*results, strict=True):
        apart = np.linalg.norm(exact.xy[:, None] - rounded.xy[None], axis=-1)
        nearest = apart.argmin(axis=1)
        again = apart[np.arange(len(exact)), nearest] < 0.5
        moved.append(apart.min(axis=1))
        cosines.append((exact.descriptors[again] * rounded.descriptors[nearest[again]]).sum(axis=1))
        drifts.append(np.abs(exact.scores[again] - rounded.scores[nearest[again]]))
    px = np.concatenate(moved)
    figures = {
        "same_pixel": float((px < 0.5).mean()),
        "within_1_px": float((px < 1.5).mean()),
        "median_px": float(np.median(px)),
        "largest_score_drift": float(np.concatenate(drifts).max()),
        "lowest_cosine": float(np.concatenate(cosines).min()),
    }
    print("bfloat16 against float32:", {name: round(value, 4) for name, value in figures.items()})
    return figures


def parser() -> Parser:
    found = Parser(__doc__)
    found.count("--images", 64, 512)
    found.peer_settings(8, batch_sizes=(1, 4, 8))
    found.add_argument("--drift", action="store_true", help="only measure how far bfloat16 drifts")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    if arguments.drift:
        save("keypoint-detection-drift", drift(arguments, folder), arguments)
    else:
        save("keypoint-detection", speed(arguments, folder), arguments)


if __name__ == "__main__":
    main()
