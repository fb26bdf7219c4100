"""Trains labels of your own on a ready backbone, saves the result as one folder, and runs it.

    python examples/your_own_head.py [--folder my-classifier] [--steps 60]

The backbone stays as it is (frozen), so its features are computed once and only the linear head learns. With a
thousand pictures instead of twelve, and `backbone="timm/resnet18.a1_in1k"` or any other name, it is the same code.
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

    files = [IMAGES / f"{name}.jpg" for names in LABELS.values() for name in names]
    targets = torch.tensor([i for i, names in enumerate(LABELS.values()) for _ in names])
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
        right = sum(result[0]["label"] == list(LABELS)[targets[result.index]] for result in classify(files))
    print(f"{right} of {len(files)} right; saved to {options.folder}")


if __name__ == "__main__":
    main()
