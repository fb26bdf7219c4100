"""Pictures of 20 people each through ViTPose (random weights), and through a plain loop over the reference.

    python -m benchmarks.pose_estimation --models vitpose-plus-small --images 4
    python -m benchmarks.pose_estimation --drift

The reference is Transformers' processor, model and `post_process_pose_estimation`, called as its documentation shows:
all people of a picture are one batch. Prints it at its defaults (float32, a picture at a time), at its best of dtype ×
pictures at a time, and ours, in pictures per second of whole runs from file names to joints; and with `--drift` how far
bfloat16 moves joints.
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
from benchmarks.ours import compiles, pipes

WIDTH, HEIGHT = 1280, 720
MODELS = {
    "vitpose-base": {"hidden_size": 768, "num_attention_heads": 12},
    "vitpose-plus-small": {"hidden_size": 384, "num_attention_heads": 12, "num_experts": 6, "part_features": 96},
}


def checkpoint(name: str, folder: Path) -> Path:
    """Saves the model with random weights, whose heat maps reach from about 0 to 1."""
    import torch
    from transformers import AutoConfig, VitPoseConfig, VitPoseForPoseEstimation, VitPoseImageProcessor

    place = folder / f"{name}-pose"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        backbone = AutoConfig.for_model("vitpose_backbone", **MODELS[name], out_indices=[12])
        model = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, num_labels=17)).eval()
        with torch.no_grad():
            maps = model(torch.randn(2, 3, 256, 192), dataset_index=torch.zeros(2, dtype=torch.int64)).heatmaps
            low, high = maps.flatten(2).amin(2).mean(), maps.flatten(2).amax(2).mean()
            model.head.conv.weight.div_(high - low)
            model.head.conv.bias.copy_((model.head.conv.bias - low) / (high - low))
        model.save_pretrained(place)
        VitPoseImageProcessor().save_pretrained(place)
    return place


def boxes_of(count: int, seed: int) -> list[list[float]]:
    """xyxy px: people of 40 to 300 px, anywhere on a picture."""
    rng = np.random.default_rng(seed)
    heights = rng.uniform(40, 300, count)
    widths = heights * rng.uniform(0.3, 0.7, count)
    left, top = rng.uniform(0, WIDTH - widths), rng.uniform(0, HEIGHT - heights)
    return np.stack([left, top, left + widths, top + heights], axis=1).round(1).tolist()


def peer(place: Path, device: str, dtype: str) -> Any:
    """A function that runs the reference over inputs, some pictures at a time."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, VitPoseForPoseEstimation

    model = VitPoseForPoseEstimation.from_pretrained(place, dtype=getattr(torch, dtype)).to(device).eval()
    processor = AutoImageProcessor.from_pretrained(place)

    def run(inputs: Sequence[dict[str, Any]], at_once: int = 1) -> Iterator[Any]:
        for start in range(0, len(inputs), at_once):
            some = inputs[start : start + at_once]
            images = [Image.open(each["image"]) for each in some]
            boxes = [[[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in each["boxes"]] for each in some]
            given = processor(images, boxes=boxes, return_tensors="pt").to(device, dtype=getattr(torch, dtype))
            given["dataset_index"] = torch.zeros(len(given["pixel_values"]), dtype=torch.int64, device=device)
            with torch.inference_mode():
                outputs = model(**given)
            outputs.heatmaps = outputs.heatmaps.float()  # NumPy knows no bfloat16
            yield from processor.post_process_pose_estimation(outputs, boxes=boxes)

    return run


def asked(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    images = photographs(folder / "photographs", arguments.images, size=(WIDTH, HEIGHT))
    return [{"image": image, "boxes": boxes_of(arguments.people, seed)} for seed, image in enumerate(images)]


def run(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    inputs, place, device = asked(arguments, folder), checkpoint(name, folder), arguments.device
    peers = functools.cache(functools.partial(peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        sample = sampled(inputs, arguments, setting["batch_size"])
        one = peers(setting["dtype"])
        list(one(inputs[:1]))
        return lambda: list(one(sample, setting["batch_size"])), len(sample)

    best, tried = fastest(ready, arguments)
    mine = pipes("pose-estimation", place, inputs, arguments)
    for theirs, result in zip(peers("float32")(inputs[:1]), mine["ours, float32, eager"](inputs[:1]), strict=True):
        apart = np.concatenate([np.abs(a["keypoints"].numpy() - b) for a, b in zip(theirs, result.xy, strict=True)])
        assert np.median(apart) < 1e-2, "what is compared must do the same work"
    runs = {
        "peer, defaults (float32, a picture at a time)": lambda: list(peers("float32")(inputs)),
        f"peer, best ({label(best)})": lambda: list(peers(best["dtype"])(inputs, best["batch_size"])),
        **{key: (lambda pipe=pipe: pipe(inputs)) for key, pipe in mine.items()},
    }
    found = in_turn(runs, len(inputs), arguments)
    print(f"\n{name}, {arguments.people} people a picture")
    figures = {**compared(found), **shares_of_bound(found, mine, inputs[:1], device)}
    return {**figures, "peer_settings_tried": tried, "stats": {key: pipe.stats() for key, pipe in mine.items()}}


def drift(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """How far bfloat16 moves joints, in shares of their person's height."""
    import sensorium

    inputs, place = asked(arguments, folder), checkpoint(name, folder)
    settings = {"device": arguments.device, "compile": False}
    with (
        sensorium.pipeline("pose-estimation", place, dtype="float32", **settings) as exact,
        sensorium.pipeline("pose-estimation", place, dtype="bfloat16", **settings) as fast,
    ):
        pairs = list(zip(exact(inputs), fast(inputs), strict=True))
    moved = []
    for a, b in pairs:
        heights = a.boxes[:, 3] - a.boxes[:, 1]
        moved.append((np.linalg.norm(a.xy - b.xy, axis=-1) / heights[:, None]).ravel())
    figures = {f"moved by, {q:.0%}": float(np.quantile(np.concatenate(moved), q)) for q in (0.5, 0.9, 0.95)}
    print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return figures


def parser() -> Parser:
    found = Parser(__doc__, rounds=3)
    found.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    found.add_argument("--people", type=int, default=20, help="on each picture")
    found.count("--images", 4, 64)
    compiles(found, 16, 64)
    found.peer_settings(4, batch_sizes=(1, 4))
    found.add_argument("--drift", action="store_true", help="measure bfloat16's drift and nothing else")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    work = drift if arguments.drift else run
    figures = {name: work(name, arguments, folder) for name in arguments.models}
    save("pose-estimation-drift" if arguments.drift else "pose-estimation", figures, arguments)


if __name__ == "__main__":
    main()
