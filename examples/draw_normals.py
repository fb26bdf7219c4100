"""Tells which way surfaces face, draws it, and saves it as pictures of 16 bits.

    python examples/draw_normals.py --model google/tipsv2-b14-dpt [--folder normals]

The model is fetched from the Hub at its first use; a local folder works offline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw surface normals.")
    parser.add_argument("--model", default="google/tipsv2-b14-dpt", help="a Hub name or a folder")
    parser.add_argument("--folder", type=Path, default=Path("normals"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)

    paths = sorted(IMAGES.glob("c*.jpg"))
    with pipeline("surface-normals", model=options.model) as face:
        for path, found in zip(paths, face.stream(paths), strict=True):
            found.plot(Image.open(path)).save(options.folder / f"{path.stem}-drawn.png")
            found.save(options.folder / f"{path.stem}.png")
            print(f"{path.name}: {', '.join(found.lines())}")


if __name__ == "__main__":
    main()
