"""Finds the pictures that look most like a given one.

    python examples/similar_pictures.py [QUERY] [--folder FOLDER] [--model NAME]

Every picture becomes a vector once; a query is then one matrix product.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sensorium import pipeline, similarity

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the pictures that look most like a given one.")
    parser.add_argument("query", type=Path, nargs="?", help="a picture; without one, the cat, mirrored and small")
    parser.add_argument("--folder", type=Path, default=IMAGES)
    parser.add_argument("--model", default="starter/image-classification")
    options = parser.parse_args()

    files = sorted(options.folder.rglob("*.jpg"))
    query = options.query or ImageOps.mirror(Image.open(IMAGES / "cat.jpg")).reduce(2)
    with pipeline("image-feature-extraction", model=options.model) as embed:
        index = embed(files, pool="pooled")
        scores = similarity(embed(query, pool="pooled"), index)
    for i in np.argsort(-scores)[:3]:
        print(f"{scores[i]:.2f} {files[i].name}")


if __name__ == "__main__":
    main()
