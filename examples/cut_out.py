"""Cuts an object out of a picture by points on it, and says what each further point changes.

    python examples/cut_out.py [PICTURE] [--model NAME] [--point X Y ...] [--output FILE]

The model is fetched from the Hub unless it is a folder. The picture is encoded once; a point costs little.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut an object out of a picture by points on it.")
    parser.add_argument("picture", type=Path, nargs="?", default=IMAGES / "owl.jpg")
    parser.add_argument("--model", default="facebook/sam-vit-base@70c1a07")
    parser.add_argument("--point", type=float, nargs=2, action="append", metavar=("X", "Y"))
    parser.add_argument("--output", type=Path, default=Path("cut_out.png"))
    options = parser.parse_args()
    original = Image.open(options.picture).convert("RGB")
    points = options.point or [[original.width * 0.5, original.height * share] for share in (0.5, 0.35, 0.65)]

    with pipeline("mask-generation", model=options.model) as segment, segment.image(original) as image:
        for count in range(1, len(points) + 1):
            best = image.masks(points=points[:count]).best()
            print(f"{count} points: {best.areas[0]} px, score {best.scores[0]:.2f}, box {best.boxes[0].tolist()}")

    cut = np.dstack([np.asarray(original), np.where(best.mask(0), 255, 0).astype(np.uint8)])
    Image.fromarray(cut).save(options.output)
    best.plot(original).save(options.output.with_stem(options.output.stem + "_overlay"))


if __name__ == "__main__":
    main()
