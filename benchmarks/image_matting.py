"""Pictures with trimaps through ViTMatte-S (random weights), and through a plain loop over Transformers' own code.

    python -m benchmarks.image_matting
    python -m benchmarks.image_matting --width 1920 --height 1080    # a card, or patience
    python -m benchmarks.image_matting --drift

The reference is Transformers' processor and model, called as its documentation shows, with padding cut off. Prints
pictures per second from file names to mattes, the most memory of each side in a process of its own, less what that
process held before its run, and with `--drift` how far bfloat16 moves alpha.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.harness import compared, in_turn, photographs, save

VIT_SMALL = {
    "hidden_size": 384,
    "num_attention_heads": 6,
    "num_hidden_layers": 12,
    "num_channels": 4,
    "image_size": 512,
    "patch_size": 16,
    "window_size": 14,
    "window_block_indices": [0, 1, 3, 4, 6, 7, 9, 10],
    "residual_block_indices": [2, 5, 8, 11],
    "use_relative_position_embeddings": True,
    "out_features": ["stage12"],
}
"""The backbone of hustvl/vitmatte-small-composition-1k."""


def checkpoint(folder: Path) -> Path:
    import torch
    from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting, VitMatteImageProcessor

    place = folder / "vitmatte-small"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        # lists, as published: of the tuples that are the configuration's defaults no model can be made
        sizes = {"convstream_hidden_sizes": [48, 96, 192], "fusion_hidden_sizes": [256, 128, 64, 32]}
        config = VitMatteConfig(backbone_config=VitDetConfig(**VIT_SMALL), hidden_size=384, **sizes)
        VitMatteForImageMatting(config).eval().save_pretrained(place)
        VitMatteImageProcessor().save_pretrained(place)
    return place


def trimap(arguments: argparse.Namespace) -> np.ndarray[Any, Any]:
    """An ellipse in front, with a band around it that is to be found out."""
    y, x = np.mgrid[0 : arguments.height, 0 : arguments.width]
    away = np.hypot((x / arguments.width - 0.5), (y / arguments.height - 0.5))
    return np.select([away < 0.2, away < 0.3], [255, 128], 0).astype(np.uint8)


def peer(place: Path, arguments: argparse.Namespace, dtype: str = "float32") -> Callable[[Sequence[str]], Any]:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageMatting

    kind = getattr(torch, dtype)
    model = AutoModelForImageMatting.from_pretrained(place, dtype=kind).eval().to(arguments.device)
    processor = AutoImageProcessor.from_pretrained(place)
    guide = Image.fromarray(trimap(arguments))

    def matte(path: str) -> Any:
        image = Image.open(path).convert("RGB")
        inputs = processor(images=image, trimaps=guide, return_tensors="pt").to(arguments.device, dtype=kind)
        with torch.inference_mode():
            return model(**inputs).alphas[0, 0, : image.height, : image.width].float().cpu().numpy()

    return lambda paths: [matte(path) for path in paths]


def ours(place: Path, arguments: argparse.Namespace, **settings: Any) -> Callable[[Sequence[str]], Any]:
    import sensorium

    pipe = sensorium.pipeline("image-matting", place, device=arguments.device, **settings)
    guide = trimap(arguments)
    return lambda paths: pipe([{"image": path, "trimap": guide} for path in paths])


EXACT = {"dtype": "float32", "compile": False}
SIDES = {
    "peer, defaults (float32, one by one)": peer,
    "peer, bfloat16, one by one": functools.partial(peer, dtype="bfloat16"),
    "ours, float32, eager, one by one": functools.partial(ours, **EXACT, batch_size=1),
    "ours, defaults": ours,
}


def _highest(side: str, place: Path, images: list[str], arguments: argparse.Namespace) -> float:
    """MB that a run needs above what the process holds once its model is loaded."""
    import torch

    warnings.filterwarnings("ignore")
    run = SIDES[side](place, arguments)
    if arguments.device.startswith("cuda"):
        held = torch.cuda.memory_allocated(arguments.device)
        run(images[:1])
        return (torch.cuda.max_memory_allocated(arguments.device) - held) / 2**20
    before = _resident("VmRSS")
    run(images[:1])
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"{name}:\s*(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


def memory(place: Path, images: list[str], arguments: argparse.Namespace) -> dict[str, float]:
    """MB of each side in a process of its own."""
    found: dict[str, float] = {}
    for side in SIDES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found[side] = pool.submit(_highest, side, place, images, arguments).result()
        print(f"  {side:<44} {found[side]:9.0f} MB at most above what it held")
    return found


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    images = photographs(folder / "photographs", arguments.images, size=(arguments.width, arguments.height))
    place = checkpoint(folder)
    print(f"{arguments.width}x{arguments.height} px")
    held = memory(place, images, arguments)
    sides = {name: build(place, arguments) for name, build in SIDES.items()}
    first, _, mine, _ = (side(images[:1])[0] for side in sides.values())
    assert np.abs(first - mine.alpha).max() < 1e-3, "what is compared must do the same work"
    found = in_turn({name: functools.partial(side, images) for name, side in sides.items()}, len(images), arguments)
    return {**compared(found), "memory_mb": held}


def drift(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """How far bfloat16 moves alpha."""
    images = photographs(folder / "photographs", arguments.images, size=(arguments.width, arguments.height))
    place = checkpoint(folder)
    sides = [ours(place, arguments, dtype=dtype, compile=False) for dtype in ("float32", "bfloat16")]
    pairs = zip(*(side(images) for side in sides), strict=True)
    moved = np.concatenate([np.abs(a.alpha - b.alpha).ravel() for a, b in pairs])
    figures = {"moved by, median": float(np.median(moved)), "moved by, at most": float(moved.max())}
    print(", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return figures


def parser() -> Parser:
    found = Parser(__doc__, rounds=3)
    found.count("--images", 2, 16)
    found.count("--width", 640, 1920)
    found.count("--height", 480, 1080)
    found.add_argument("--drift", action="store_true", help="measure bfloat16's drift and nothing else")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    work = drift if arguments.drift else run
    save("image-matting-drift" if arguments.drift else "image-matting", work(arguments, folder), arguments)


if __name__ == "__main__":
    main()
