"""Trains labels of your own on a ready backbone, saves the result as one folder, and runs it.

    python examples/your_own_head.py [--folder my-classifier] [--steps 60]

The backbone stays as it is (frozen), so its features are computed once and only the linear head learns. It is
measured on pictures that it has not seen: of those that it has, it knows all, and of others, after eight, hardly one.
With a thousand pictures instead of eight, and `backbone="timm/resnet18.a1_in1k"` or any other, it is the same code.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.nn import functional as F

from sensorium import AutoBackbone, Backbone, Composite, ImageProcessor, build_head, pipeline

IMAGES = Path(__file__).parent / "pictures"
LABELS = {
    "animal": ["cat", "elephant", "owl"],
    "vehicle": ["bicycle", "car", "sailboat"],
    "something else": ["camera", "castle", "guitar", "pizza", "sunflower", "umbrella"],
}
HELD_OUT = {"owl", "car", "camera", "pizza"}  # the head never sees these: what it says of them is what it is worth
STARTER = "starter/image-classification"


def load_backbone(name: str) -> Backbone:
    """The backbone of a checkpoint; the starter is one with a head, which is left behind."""
    return Composite.from_pretrained(name).backbone if name == STARTER else AutoBackbone.from_pretrained(name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a head of your own on a frozen backbone.")
    parser.add_argument("--backbone", default=STARTER)
    parser.add_argument("--folder", type=Path, default=Path("my-classifier"))
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    torch.manual_seed(0)

    processor = ImageProcessor.from_pretrained(options.backbone)
    backbone = load_backbone(options.backbone).freeze()
    model = build_head(backbone, list(LABELS))

    labels = {IMAGES / f"{name}.jpg": label for label, names in LABELS.items() for name in names}
    files = [file for file in labels if file.stem not in HELD_OUT]
    unseen = [file for file in labels if file.stem in HELD_OUT]
    targets = torch.tensor([list(LABELS).index(labels[file]) for file in files])
    with torch.inference_mode():
        features = backbone.pool(processor(files)["pixel_values"])
    features = features.clone()  # an inference tensor is not a part of a training graph

    optimizer = torch.optim.AdamW(model.head.parameters(), lr=0.02)
    for step in range(options.steps):
        loss = F.cross_entropy(model.head(features), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.3f}")

    model.save_pretrained(options.folder, processor)
    with pipeline(model=options.folder) as classify:  # the task is found from the folder's config.json
        right = [result[0]["label"] == labels[file] for file, result in zip(unseen, classify(unseen), strict=True)]
    print(f"{sum(right)} of {len(right)} pictures that were held out are right; saved to {options.folder}")


if __name__ == "__main__":
    main()
