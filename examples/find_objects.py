"""Finds objects in pictures of several shapes, and writes each picture with its boxes, and a row for each object.

    python examples/find_objects.py --model PekingU/rtdetr_r50vd [--folder found] [--threshold 0.5]

The model is fetched from the Hub at its first use; a local folder works offline.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Find objects in pictures.")
    parser.add_argument("--model", default="PekingU/rtdetr_r50vd", help="a Hub name or a folder")
    parser.add_argument("--folder", type=Path, default=Path("found"))
    parser.add_argument("--threshold", type=float, default=0.5)
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)

    paths = sorted(IMAGES.glob("c*.jpg"))
    images = [Image.open(path).convert("RGB") for path in paths]
    images[0] = images[0].rotate(90, expand=True)  # a batch may hold any shapes
    with (
        pipeline("object-detection", model=options.model) as detect,
        (options.folder / "objects.csv").open("w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["picture", "label", "score", "left", "top", "right", "bottom"])
        for path, image, found in zip(paths, images, detect(images, threshold=options.threshold), strict=True):
            for label, score, box in zip(found.labels, found.scores, found.xyxy, strict=True):
                rows.writerow([path.name, label, f"{score:.3f}", *(f"{side:.1f}" for side in box)])
            found.plot(image).save(options.folder / f"{path.stem}.png")
            large = found[found.area > 0.1 * image.width * image.height]
            print(f"{path.name}: {len(found)} objects, {len(large)} of them large")


if __name__ == "__main__":
    main()
