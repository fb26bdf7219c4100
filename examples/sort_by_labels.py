"""Sorts pictures by labels of your own, without training.

    python examples/sort_by_labels.py LABEL LABEL… --model NAME [--folder FOLDER]

NAME is a checkpoint of the Hub, such as openai/clip-vit-base-patch32, or a local folder. The labels are read once; each
picture then costs no more than its own features.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Sort pictures by labels of your own.")
    parser.add_argument("labels", nargs="+")
    parser.add_argument("--model", required=True)
    parser.add_argument("--folder", type=Path, default=IMAGES)
    options = parser.parse_args()

    files = sorted(options.folder.rglob("*.jpg"))
    sorted_files: dict[str, list[str]] = {label: [] for label in options.labels}
    with pipeline("zero-shot-image-classification", model=options.model) as classify:
        for file, result in zip(files, classify.stream(files, candidate_labels=options.labels), strict=True):
            best = result[0]
            sorted_files[best["label"]].append(f"{file.name} {best['score']:.2f}")
    for label, names in sorted_files.items():
        print(f"{label}: {', '.join(names) or 'none'}")


if __name__ == "__main__":
    main()
