"""A folder of 500×375 JPEGs through ViT-B/16 and others (random weights), against Transformers' pipeline.

    python -m benchmarks.image_classification --models vit resnet50 convnext swin --images 48
    python -m benchmarks.image_classification --device cuda --models resnet50 vit

Prints, for each model: the peer at its defaults, the peer at its best of dtype × batch size × workers, ours at its
defaults and ours compiled, in items per second of whole runs from file names to labels; and their ratios.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, of_call, photographs, sampled, save
from benchmarks.ours import compiles, pipes


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


def _tiny():
    """For trying a script out."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    return ViTForImageClassification(ViTConfig(**sizes, patch_size=32)), ViTImageProcessor()


MODELS = {"vit": _vit, "resnet50": _resnet50, "convnext": _convnext, "swin": _swin, "tiny": _tiny}


def checkpoint(name: str, folder: Path) -> Path:
    """Saves the model with random weights, as `from_pretrained` wants it."""
    import torch

    place = folder / f"classifier-{name}"
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


def run(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    place, device = checkpoint(name, folder), arguments.device
    images = photographs(folder / "photographs", arguments.images)
    peers = functools.cache(functools.partial(peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        pipe, rest = peers(setting["dtype"]), of_call(setting)
        pipe(images[:2])
        sample = sampled(images, arguments, setting["batch_size"])
        return lambda: pipe(sample, **rest), len(sample)

    best, tried = fastest(ready, arguments)
    mine = pipes("image-classification", place, images, arguments)
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers("float32")(images),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(images, **of_call(best)),
        "peer, float32, best batch": lambda: peers("float32")(images, **of_call(best)),
        **{key: (lambda pipe=pipe: pipe(images)) for key, pipe in mine.items()},
    }
    found = in_turn(runs, len(images), arguments)
    print(f"\n{name}")
    return {
        **compared(found),
        **shares_of_bound(found, mine, images[:8], device),
        "peer_settings_tried": tried,
        "stats": {key: pipe.stats() for key, pipe in mine.items()},
    }


def parser() -> Parser:
    found = Parser(__doc__, rounds=5)
    found.add_argument("--models", nargs="+", choices=MODELS, default=["vit", "resnet50", "convnext", "swin"])
    found.count("--images", 48, 1024)
    compiles(found, 8, 64)
    found.peer_settings(16, workers=(0, 2))
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    figures = {}
    for name in arguments.models:
        figures[name] = run(name, arguments, folder)
        save("image-classification", figures, arguments)  # after each, so that what ends the next costs nothing


if __name__ == "__main__":
    main()
