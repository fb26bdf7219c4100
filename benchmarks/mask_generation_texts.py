"""Eight texts on 640×480 JPEGs through SAM 3 (random weights), and through the peer's model, one text at a time.

    python -m benchmarks.mask_generation_texts --images 2
    python -m benchmarks.mask_generation_texts --images 1 --rounds 1 --layers 2 --size 336

The peer has no pipeline for texts. Its model and processor run as its documentation has it: picture and text together,
text by text; and, as its best, with the picture encoded once. The threshold is the one that five objects a text pass.
Prints pictures per second of whole runs from file names to masks at the pictures' own size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import as_rows, in_turn, photographs, save
from benchmarks.zero_shot_image_classification import names, tokenizer_of_clip

FOUND = 5
"""Objects that a text finds on a picture."""


def checkpoint(folder: Path, layers: int, size: int) -> Path:
    """Saves SAM 3's detector with random weights, whose masks have contours."""
    import torch
    from transformers import Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor

    place = folder / f"sam3-{layers}-{size}"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        tokenizer = tokenizer_of_clip(length=32)
        config = Sam3Config()
        config.vision_config.backbone_config.num_hidden_layers = layers
        config.image_size, config.text_config.num_hidden_layers = size, min(24, layers)
        model = Sam3Model(config).eval()
        with torch.no_grad():
            model.detr_decoder.presence_head.layer3.bias.fill_(2.0)
            model.detr_decoder.query_embed.weight.mul_(50)
            model.mask_decoder.mask_embedder.layers[-1].weight.mul_(50)
        model.save_pretrained(place)
        Sam3Processor(Sam3ImageProcessor(size={"height": size, "width": size}), tokenizer).save_pretrained(place)
    return place


class Peer:
    """Transformers' model and processor, text by text."""

    def __init__(self, place: Path, device: str) -> None:
        from transformers import Sam3Model, Sam3Processor

        self.model = Sam3Model.from_pretrained(place).eval().to(device)
        self.processor, self.device = Sam3Processor.from_pretrained(place), device

    def __call__(self, path: str, texts: list[str], threshold: float, *, once: bool) -> list[dict[str, Any]]:
        """What each text finds; the picture is encoded for each text, or `once`."""
        import torch
        from PIL import Image

        image, found = Image.open(path).convert("RGB"), []
        with torch.inference_mode():
            seen: dict[str, Any] = {}
            if once:
                pixels = self.processor(images=image, return_tensors="pt").to(self.device).pixel_values
                seen["vision_embeds"] = self.model.get_vision_features(pixel_values=pixels)
            for text in texts:
                inputs = self.processor(images=None if once else image, text=text, return_tensors="pt").to(self.device)
                inputs.pop("original_sizes", None)
                output = self.model(**seen, **inputs)
                size = [(image.height, image.width)]
                found += self.processor.post_process_instance_segmentation(output, threshold, target_sizes=size)
        return found


def compare(place: Path, paths: list[str], texts: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    import sensorium

    task, device = "mask-generation", arguments.device
    peer = Peer(place, device)
    scores = np.concatenate([found["scores"].cpu() for found in peer(paths[0], texts, 0.0, once=True)])
    threshold = float(np.sort(scores)[-FOUND * len(texts)])
    rates, expected = {}, []
    for name, once in (("text by text", False), ("the picture encoded once", True)):
        began = time.perf_counter()
        expected = [peer(path, texts, threshold, once=once) for path in paths[: arguments.peer_images]]
        rates[name] = len(expected) / (time.perf_counter() - began)
        print(f"  peer, {name}, float32: {rates[name]:.4f} /s (on {len(expected)} pictures, once)")
    mine = {
        "ours, float32, eager": sensorium.pipeline(task, place, device=device, dtype="float32", compile=False),
        "ours, defaults": sensorium.pipeline(task, place, device=device),
    }
    asked: dict[str, Any] = {"texts": texts, "threshold": threshold}
    exact = mine["ours, float32, eager"](paths[: len(expected)], **asked)
    for theirs, result in zip(expected, exact, strict=True):  # what is compared must do the same work
        got = np.sort(np.concatenate([found["scores"].cpu() for found in theirs]))
        np.testing.assert_allclose(got[-FOUND:], np.sort(result.scores)[-FOUND:], atol=1e-3)
    runs = {name: (lambda pipe=pipe: pipe(paths, **asked)) for name, pipe in mine.items()}
    measured = in_turn(runs, len(paths), arguments)
    for measurement in measured.values():
        print(
            f"  {measurement}: " + ", ".join(f"{measurement.median / rate:.1f}× {name}" for name, rate in rates.items())
        )
    shares = shares_of_bound(measured, mine, paths[:2], device, run=lambda pipe, some: pipe(some, **asked))
    ratios = {
        f"{name}, of the peer's, {which}": measurement.median / rate
        for name, measurement in measured.items()
        for which, rate in rates.items()
    }
    return {"measurements": as_rows(list(measured.values())), "peer_rates": rates, "ratios": ratios, **shares}


def parser() -> Parser:
    found = Parser(__doc__, rounds=3)
    found.add_argument("--texts", type=int, default=8)
    found.count("--images", 2, 64)
    found.count("--peer-images", 1, 8, help="for the peer, which runs once for each text")
    found.add_argument("--layers", type=int, default=32, help="fewer to try the script out")
    found.add_argument("--size", type=int, default=1008, help="px of the model's square; a multiple of 14")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    place, texts = checkpoint(folder, arguments.layers, arguments.size), names(arguments.texts)
    paths = photographs(folder / "photographs", arguments.images, size=(640, 480))
    save("mask-generation-texts", compare(place, paths, texts, arguments), arguments)


if __name__ == "__main__":
    main()
