"""Finds what words of your own name, or what looks like the thing on a picture, and writes each picture with its boxes.

    python examples/find_by_words.py LABEL LABEL… [--model NAME] [--folder found] [--threshold 0.1]
    python examples/find_by_words.py --like PICTURE [--like PICTURE…]

The model is fetched from the Hub at its first use; a local folder works offline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Find what words name.")
    parser.add_argument("labels", nargs="*")
    parser.add_argument("--like", action="append", help="a picture of what to look for, instead of labels")
    parser.add_argument("--model", default="google/owlvit-base-patch32", help="a Hub name or a folder")
    parser.add_argument("--folder", type=Path, default=Path("found"))
    parser.add_argument("--threshold", type=float, default=0.1)
    options = parser.parse_args()
    if bool(options.labels) == bool(options.like):
        parser.error("name labels, or pictures with --like")
    options.folder.mkdir(exist_ok=True)

    paths = sorted(IMAGES.glob("c*.jpg"))
    wanted = {"query_images": options.like} if options.like else {"candidate_labels": options.labels}
    asked = {**wanted, "threshold": options.threshold}
    with pipeline("zero-shot-object-detection", model=options.model) as find:
        for path, found in zip(paths, find.stream(paths, **asked), strict=True):
            found.plot(Image.open(path)).save(options.folder / f"{path.stem}.png")
            print(f"{path.name}: {len(found)} objects; best: {found.lines()[0] if len(found) else 'none'}")


if __name__ == "__main__":
    main()
