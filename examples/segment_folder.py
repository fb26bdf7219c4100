"""Segments pictures, draws the segments over them, and tells how much of each picture they cover.

    python examples/segment_folder.py --model nvidia/segformer-b0-finetuned-ade-512-512 [--folder segments]

The model is fetched from the Hub at its first use; a local folder works offline. Any checkpoint of the task does, one
for objects, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Segment pictures.")
    parser.add_argument("--model", default="nvidia/segformer-b0-finetuned-ade-512-512", help="a Hub name or a folder")
    parser.add_argument("--folder", type=Path, default=Path("segments"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)

    paths = sorted(IMAGES.glob("c*.jpg"))
    with pipeline("image-segmentation", model=options.model) as segment:
        for path, found in zip(paths, segment.stream(paths), strict=True):
            height, width = found.size
            large = found[found.areas >= 0.05 * height * width]  # nothing is drawn for a few stray pixels
            large.plot(Image.open(path)).save(options.folder / f"{path.stem}.png")
            found.save(options.folder / f"{path.stem}.json")  # masks as COCO's run-length encoding
            shares = zip(large.labels, large.areas / (height * width), strict=True)
            print(f"{path.name}: " + ", ".join(f"{label} {share:.0%}" for label, share in shares))


if __name__ == "__main__":
    main()
