"""Counts what words name on each picture, and draws the masks with their names.

    python examples/count_by_words.py WORDS WORDS… [--model NAME] [--folder counted] [--threshold 0.3]

    python examples/count_by_words.py "a wheel" "a cat's ear"

The model is fetched from the Hub at its first use; a local folder works offline.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what words name.")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--model", default="facebook/sam3", help="a Hub name or a folder")
    parser.add_argument("--folder", type=Path, default=Path("counted"))
    parser.add_argument("--threshold", type=float, default=0.3)
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)

    paths = sorted(IMAGES.glob("c*.jpg"))
    asked = ({"image": path, "texts": options.texts} for path in paths)
    with pipeline("mask-generation", model=options.model) as find:
        for path, found in zip(paths, find.stream(asked, threshold=options.threshold), strict=True):
            found.plot(Image.open(path)).save(options.folder / f"{path.stem}.png")
            counts = Counter(found.labels.tolist())
            print(f"{path.name}: " + ", ".join(f"{counts[text]} × {text}" for text in options.texts))


if __name__ == "__main__":
    main()
