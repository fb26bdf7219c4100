"""Finds objects on pictures, and asks a second model what each of them is.

    python examples/label_what_is_found.py --detector PekingU/rtdetr_r50vd *.jpg

The detector is fetched from the Hub at its first use; a local folder works offline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sensorium import InputError, pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Label what is found.")
    parser.add_argument("images", nargs="*", type=Path, default=sorted(IMAGES.glob("c*.jpg")))
    parser.add_argument("--detector", default="PekingU/rtdetr_r50vd", help="a Hub name or a folder")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--model", default="starter/image-classification", help="labels each object")
    options = parser.parse_args()

    with (
        pipeline("object-detection", model=options.detector) as detect,
        pipeline("image-classification", model=options.model) as classify,
    ):
        found = detect.crop(options.images, margin=0.1, threshold=options.threshold, top_k=5)
        for picture in found.through(classify, top_k=1, on_error="return"):
            if isinstance(picture, InputError):
                print(f"{picture.source}: {picture.message}")
                continue
            print(f"{Path(picture.source).name}: {len(picture)} objects")
            for crop, labels in picture:
                print(f"    {crop.row['label']} at {crop.box}: {labels.labels[0]} {labels.scores[0]:.2f}")


if __name__ == "__main__":
    main()
