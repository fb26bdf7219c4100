"""One picture made twice as large by Swin2SR (random weights): ours in tiles, and Transformers' own code in one pass.

    python -m benchmarks.image_to_image
    python -m benchmarks.image_to_image --model classical --width 1920 --height 1080 --tile 512    # a card, or an hour
    python -m benchmarks.image_to_image --drift

Prints pictures per second from file name to array, the most memory of each side in a process of its own, less what that
process held before its run, and with `--drift` how far bfloat16 moves levels. On a CPU the model and the picture are by
default so small that it takes two minutes; a tile has about the same share of the picture as 512 px have of 1,080p.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import re
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.harness import in_turn, photographs, ratio, ratio_value, save

MODELS = {
    "classical": {"embed_dim": 180, "depths": [6] * 6, "num_heads": [6] * 6, "upsampler": "pixelshuffle"},
    "lightweight": {"embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4, "upsampler": "pixelshuffledirect"},
}
"""As caidas/swin2SR-classical-sr-x2-64 and caidas/swin2SR-lightweight-x2-64 are configured."""


def checkpoint(name: str, folder: Path) -> Path:
    import torch
    from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution, Swin2SRImageProcessor

    place = folder / f"swin2sr-{name}"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        config = Swin2SRConfig(image_size=64, window_size=8, mlp_ratio=2.0, upscale=2, **MODELS[name])
        Swin2SRForImageSuperResolution(config).eval().save_pretrained(place)
        Swin2SRImageProcessor().save_pretrained(place)
    return place


def peer(place: Path, arguments: argparse.Namespace) -> Any:
    """What Transformers 4.57's pipeline does, with what version 5 still has of it."""
    import torch
    from PIL import Image
    from transformers import Swin2SRForImageSuperResolution, Swin2SRImageProcessor

    model = Swin2SRForImageSuperResolution.from_pretrained(place).eval().to(arguments.device)
    processor = Swin2SRImageProcessor.from_pretrained(place)

    def enlarged(path: str) -> Any:
        with torch.inference_mode():
            inputs = processor(Image.open(path).convert("RGB"), return_tensors="pt").to(arguments.device)
            made = model(**inputs).reconstruction.squeeze().float().cpu().clamp_(0, 1).numpy()
        return (np.moveaxis(made, 0, -1) * 255.0).round().astype(np.uint8)

    return enlarged


def ours(place: Path, arguments: argparse.Namespace, dtype: str = "float32") -> Any:
    import sensorium

    # on a CPU tiles of 512 px come one by one; small ones would share batches, and a small picture be one of them
    settings = {} if arguments.device.startswith("cuda") else {"batch_size": 1}
    pipe = sensorium.pipeline("image-to-image", place, device=arguments.device, dtype=dtype, compile=False, **settings)
    return lambda path: pipe(path, tile_px=arguments.tile, overlap_px=arguments.overlap)


SIDES = {"peer, one pass": peer, "ours, float32, tiles": ours}


def _highest(side: str, place: Path, image: str, arguments: argparse.Namespace) -> float:
    """MB that a run needs above what the process holds once its model is loaded."""
    import torch

    warnings.filterwarnings("ignore")
    run = SIDES[side](place, arguments)
    run(photographs(Path(image).parent, 1, size=(32, 24))[0])  # libraries and kernels take memory once
    if arguments.device.startswith("cuda"):
        held = torch.cuda.memory_allocated(arguments.device)
        run(image)
        return (torch.cuda.max_memory_allocated(arguments.device) - held) / 2**20
    before = _resident("VmRSS")
    run(image)
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"{name}:\s*(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


def memory(place: Path, image: str, arguments: argparse.Namespace) -> dict[str, float]:
    """MB of each side in a process of its own."""
    found: dict[str, float] = {}
    for side in SIDES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found[side] = pool.submit(_highest, side, place, image, arguments).result()
        print(f"  {side:<44} {found[side]:9.0f} MB at most above what it held")
    least, most = found["ours, float32, tiles"], found["peer, one pass"]
    print(f"  memory: {least / most:.3f} of the peer's")
    return found


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    (image,) = photographs(folder / "photographs", 1, size=(arguments.width, arguments.height))
    place = checkpoint(arguments.model, folder)
    print(f"{arguments.model}, {arguments.width}x{arguments.height} px, tiles of {arguments.tile} px")
    held = memory(place, image, arguments)
    sides = {name: build(place, arguments) for name, build in SIDES.items()}
    found = in_turn({name: functools.partial(side, image) for name, side in sides.items()}, 1, arguments)
    for measurement in found.values():
        print(f"  {measurement}")
    reference, mine = found.values()
    print(f"  ours: {ratio(mine, reference)} the peer's speed")
    rates = {name: measurement.rates for name, measurement in found.items()}
    return {"rates": rates, "speed_ratio": ratio_value(mine, reference), "memory_mb": held, **vars(arguments)}


def drift(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """How far bfloat16 moves levels of 8 bit."""
    (image,) = photographs(folder / "photographs", 1, size=(320, 240))
    place = checkpoint(arguments.model, folder)
    exact, fast = (ours(place, arguments, dtype)(image).array.astype(int) for dtype in ("float32", "bfloat16"))
    moved = np.abs(exact - fast)
    figures = {"levels, mean": float(moved.mean()), "levels, at most": float(moved.max())}
    print(f"{arguments.model}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
    return figures


def parser() -> Parser:
    found = Parser(__doc__, rounds=3)
    found.add_argument("--model", choices=MODELS, default="lightweight")
    found.count("--width", 320, 1920)
    found.count("--height", 180, 1080)
    found.count("--tile", 96, 512)
    found.count("--overlap", 8, 32)
    found.add_argument("--drift", action="store_true", help="measure bfloat16's drift and nothing else")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    figures = (drift if arguments.drift else run)(arguments, folder)
    size = f"{arguments.model}-{arguments.width}x{arguments.height}"
    save("image-to-image-drift" if arguments.drift else f"image-to-image-{size}", figures, arguments)


if __name__ == "__main__":
    main()
