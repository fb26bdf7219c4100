"""A folder of 500×375 JPEGs through ViT-B/16 and others (random weights), against Transformers' pipeline.

    python -m benchmarks.image_classification --models vit resnet50 convnext swin --images 48

Prints, for each model: the peer at its defaults, the peer at its best of dtype × batch size × workers, ours at its
defaults and ours compiled, in items per second of whole runs from file names to labels; and their ratios.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks.harness import Measurement, compared, in_turn, photographs, save


def _vit():
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    return ViTForImageClassification(ViTConfig(num_labels=1000)), ViTImageProcessor()


def _resnet50():
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(ResNetConfig(num_labels=1000)), ConvNextImageProcessor(
        size={"shortest_edge": 224}, crop_pct=0.875
    )


def _convnext():
    from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextImageProcessor

    return ConvNextForImageClassification(ConvNextConfig(num_labels=1000)), ConvNextImageProcessor(
        size={"shortest_edge": 224}
    )


def _swin():
    from transformers import SwinConfig, SwinForImageClassification, ViTImageProcessor

    return SwinForImageClassification(SwinConfig(num_labels=1000)), ViTImageProcessor(resample=3)


MODELS = {"vit": _vit, "resnet50": _resnet50, "convnext": _convnext, "swin": _swin}


def checkpoint(name: str, folder: Path) -> Path:
    """Saves the model with random weights, as `from_pretrained` wants it."""
    import torch

    place = folder / name
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        model, processor = MODELS[name]()
        model.save_pretrained(place)
        processor.save_pretrained(place)
    return place


def peer(place: Path, device: str, dtype: str):
    import torch
    import transformers

    return transformers.pipeline("image-classification", model=str(place), device=device, dtype=getattr(torch, dtype))


def best_of_peer(
    place: Path, device: str, images: list[str], grid: argparse.Namespace
) -> tuple[dict, dict[str, float]]:
    """Tries the peer's settings on a few pictures and returns the fastest with all rates."""
    tried: dict[str, float] = {}
    best: tuple[float, dict] = (0.0, {})
    for dtype in grid.dtypes:
        pipe = peer(place, device, dtype)
        pipe(images[:2])
        for batch_size, workers in itertools.product(grid.batch_sizes, grid.workers):
            sample = images[: max(2 * batch_size, grid.sample)]
            began = time.perf_counter()
            pipe(sample, batch_size=batch_size, num_workers=workers)
            rate = len(sample) / (time.perf_counter() - began)
            tried[f"{dtype} batch {batch_size} workers {workers}"] = round(rate, 2)
            if rate > best[0]:
                best = (rate, {"dtype": dtype, "batch_size": batch_size, "num_workers": workers})
    return best[1], tried


def run(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    import sensorium

    place, device = checkpoint(name, folder), arguments.device
    images = photographs(folder / "photographs", arguments.images)
    best, tried = best_of_peer(place, device, images, arguments)
    peers = {dtype: peer(place, device, dtype) for dtype in {"float32", best["dtype"]}}
    mine = {
        "ours, defaults": sensorium.pipeline("image-classification", place, device=device),
        "ours, float32, eager": sensorium.pipeline(
            "image-classification", place, device=device, dtype="float32", compile=False
        ),
    }
    if not arguments.no_compile:
        compiled = sensorium.pipeline(
            "image-classification", place, device=device, compile=True, batch_size=arguments.compiled_batch
        )
        began = time.perf_counter()
        compiled(images[: arguments.compiled_batch])
        print(f"{name}: compiled in {time.perf_counter() - began:.1f} s")
        mine["ours, compiled"] = compiled
    in_float32 = {"batch_size": best["batch_size"], "num_workers": best["num_workers"]}
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers["float32"](images),
        f"peer, best ({best})": lambda: peers[best["dtype"]](images, **in_float32),
        "peer, float32, best batch": lambda: peers["float32"](images, **in_float32),
        **{label: (lambda pipe=pipe: pipe(images)) for label, pipe in mine.items()},
    }
    found = in_turn(runs, len(images), rounds=arguments.rounds)
    return report(name, found, tried, {label: pipe.stats() for label, pipe in mine.items()})


def report(name: str, found: dict[str, Measurement], tried: dict[str, float], stats: dict) -> dict:
    print(f"\n{name}")
    return {**compared(found), "peer_settings_tried": tried, "stats": stats}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compiled-batch", type=int, default=8)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 4, 8, 16])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--sample", type=int, default=16, help="pictures for each of the peer's settings")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    figures = {name: run(name, arguments, folder) for name in arguments.models}
    save("image-classification", figures)


if __name__ == "__main__":
    main()
