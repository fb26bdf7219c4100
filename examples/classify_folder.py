"""Classifies every picture in a folder, at any depth.

    python examples/classify_folder.py [FOLDER] [--model NAME] [--top-k K]

A folder is a stream: results come as they are ready, in order, and a million files need no more memory than a hundred.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify every picture in a folder.")
    parser.add_argument("folder", type=Path, nargs="?", default=IMAGES)
    parser.add_argument("--model", default="starter/image-classification")
    parser.add_argument("--top-k", type=int, default=1)
    options = parser.parse_args()

    files = sorted(options.folder.rglob("*.jpg"))
    with pipeline("image-classification", model=options.model) as classify:
        for result in classify.stream(files, top_k=options.top_k, progress=True):
            found = ", ".join(f"{row['label']} {row['score']:.2f}" for row in result)
            print(f"{files[result.index].name}: {found}")


if __name__ == "__main__":
    main()
