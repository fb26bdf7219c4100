"""A folder of 640×480 JPEGs through DPT-hybrid and Depth Anything small (random weights), and through the peer's.

    python -m benchmarks.depth_estimation --models depth-anything-small --images 8
    python -m benchmarks.depth_estimation --drift

Prints the peer at its defaults, the peer at its best of dtype × batch size × workers, and ours, in pictures per second
of whole runs from file names to depths at the pictures' size; and with `--drift` how far bfloat16 moves depths.
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
from benchmarks.harness import Setting, compared, fastest, in_turn, label, of_call, photographs, sampled, save
from benchmarks.ours import compiles, pipes


def _dpt_hybrid() -> tuple[Any, Any]:
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    config = DPTConfig(is_hybrid=True, neck_hidden_sizes=[256, 512, 768, 768])
    return DPTForDepthEstimation(config), DPTImageProcessor()


def _depth_anything_small() -> tuple[Any, Any]:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, DPTImageProcessor

    size = {"height": 518, "width": 518}
    processor = DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14)
    return DepthAnythingForDepthEstimation(DepthAnythingConfig()), processor


MODELS = {"dpt-hybrid": _dpt_hybrid, "depth-anything-small": _depth_anything_small}


def checkpoint(name: str, folder: Path, images: list[str]) -> Path:
    """Saves the model with random weights, whose last layer gives numbers about 2, that none is cut off."""
    import torch
    from PIL import Image

    place = folder / f"{name}-depth"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        model, processor = MODELS[name]()
        last = [each for each in model.eval().head.modules() if getattr(each, "out_channels", 0) == 1][-1]
        seen: list[torch.Tensor] = []
        hook = last.register_forward_hook(lambda module, given, output: seen.append(output))
        with torch.no_grad():
            model(**processor(images=Image.open(images[0]), return_tensors="pt"))
            hook.remove()
            last.weight.div_(seen[0].std())
            last.bias.copy_((last.bias - seen[0].mean()) / seen[0].std() + 2)
        model.save_pretrained(place)
        processor.save_pretrained(place)
    return place


def peer(place: Path, device: str, dtype: str) -> Any:
    import torch
    import transformers

    return transformers.pipeline(
        "depth-estimation",
        model=str(place),
        image_processor=str(place),
        device=device,
        dtype=getattr(torch, dtype),
    )


def run(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    images = photographs(folder / "photographs", arguments.images, size=(640, 480))
    place, device = checkpoint(name, folder, images), arguments.device
    peers = functools.cache(functools.partial(peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        pipe, sample = peers(setting["dtype"]), sampled(images, arguments, setting["batch_size"])
        pipe(images[:1])
        return lambda: pipe(sample, **of_call(setting)), len(sample)

    best, tried = fastest(ready, arguments)
    mine = pipes("depth-estimation", place, images, arguments)
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers("float32")(images),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(images, **of_call(best)),
        "peer, float32, best batch": lambda: peers("float32")(images, **of_call(best)),
        **{key: (lambda pipe=pipe: pipe(images)) for key, pipe in mine.items()},
    }
    found = in_turn(runs, len(images), arguments)
    print(f"\n{name}")
    figures = {**compared(found), **shares_of_bound(found, mine, images[:2], device)}
    return {**figures, "peer_settings_tried": tried, "stats": {key: pipe.stats() for key, pipe in mine.items()}}


def drift(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """How far bfloat16 moves depths, in shares of what they span in a picture."""
    import sensorium

    images = photographs(folder / "photographs", arguments.images, size=(640, 480))
    place = checkpoint(name, folder, images)
    settings = {"device": arguments.device, "compile": False}
    with (
        sensorium.pipeline("depth-estimation", place, dtype="float32", **settings) as exact,
        sensorium.pipeline("depth-estimation", place, dtype="bfloat16", **settings) as fast,
    ):
        pairs = list(zip(exact(images), fast(images), strict=True))
    moved = np.concatenate([(np.abs(a.depth - b.depth) / np.ptp(a.depth)).ravel() for a, b in pairs])
    figures = {
        "moved by, median": float(np.median(moved)),
        "moved by, 95th percentile": float(np.quantile(moved, 0.95)),
        "moved by, at most": float(moved.max()),
    }
    print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return figures


def parser() -> Parser:
    found = Parser(__doc__, rounds=3)
    found.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    found.count("--images", 8, 256)
    compiles(found, 2, 32)
    found.peer_settings(4, batch_sizes=(1, 4), workers=(0,))
    found.add_argument("--drift", action="store_true", help="measure bfloat16's drift and nothing else")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    work = drift if arguments.drift else run
    figures = {name: work(name, arguments, folder) for name in arguments.models}
    save("depth-estimation-drift" if arguments.drift else "depth-estimation", figures, arguments)


if __name__ == "__main__":
    main()
