"""One pipeline on several devices against the same one on the first of them.

    python -m benchmarks.devices                            # two copies on the CPU, which share its cores
    python -m benchmarks.devices --device all               # every card of the machine

On the CPU both sides have the same cores: one model that uses all of them for each batch, or two that use half of them
each. On cards the ratio is what a further card adds. Pictures are arrays of the model's size: nothing is decoded.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import sensorium
from benchmarks.arguments import Parser
from benchmarks.harness import in_turn, ratio, ratio_value, save
from sensorium.pipelines.placement import resolve_devices


def vit(folder: Path, width: int) -> Path:
    """A ViT of 12 blocks with random weights."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(hidden_size=width, num_attention_heads=width // 64, intermediate_size=4 * width)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    return folder


def parser() -> Parser:
    found = Parser(__doc__, rounds=5)
    found.add_argument("--images", type=int, default=128)
    found.add_argument("--width", type=int, default=192, help="of the model's hidden states")
    found.add_argument("--batch-size", type=int, default=8)
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    devices = [str(each) for each in resolve_devices(arguments.device)]
    if devices == ["cpu"]:
        devices = ["cpu", "cpu"]
    arguments.device = devices[0]
    folder = vit(Path(tempfile.gettempdir()) / "sensorium-benchmarks" / f"vit-{arguments.width}", arguments.width)
    noise = np.random.default_rng(0).integers(0, 256, (16, 224, 224, 3), np.uint8)
    images = [noise[i % len(noise)] for i in range(arguments.images)]
    settings: dict[str, Any] = {"compile": False, "batch_size": arguments.batch_size, "num_workers": 1}
    with (
        sensorium.pipeline("image-classification", folder, device=devices[0], **settings) as one,
        sensorium.pipeline("image-classification", folder, device=devices, **settings) as several,
    ):
        names = "one device", f"{len(devices)} devices"
        found = in_turn({names[0]: lambda: one(images), names[1]: lambda: several(images)}, len(images), arguments)
        shares = [device["units"] for device in several.stats()["devices"]]
    for measurement in found.values():
        print(measurement)
    print(f"{names[1]}: {ratio(found[names[1]], found[names[0]])} one; pictures that each had: {shares}")
    save("devices", {"devices": devices, "ratio": ratio_value(found[names[1]], found[names[0]])}, arguments)


if __name__ == "__main__":
    main()
