"""Tells how far away things are, draws it, and saves it as pictures of 16 bits.

    python examples/measure_depth.py --model depth-anything/Depth-Anything-V2-Small-hf [--folder depths]

The model is fetched from the Hub at its first use; a local folder works offline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure depths.")
    parser.add_argument("--model", default="depth-anything/Depth-Anything-V2-Small-hf", help="a Hub name or a folder")
    parser.add_argument("--folder", type=Path, default=Path("depths"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)

    paths = sorted(IMAGES.glob("c*.jpg"))
    with pipeline("depth-estimation", model=options.model) as measure:
        for path, found in zip(paths, measure.stream(paths), strict=True):
            found.plot(Image.open(path)).save(options.folder / f"{path.stem}-drawn.png")
            found.save(options.folder / f"{path.stem}.png")  # in metres a level is a millimetre
            row, column = np.unravel_index(found.nearness().argmax(), found.size)
            print(f"{path.name}: {', '.join(found.lines())}; nearest at {column}, {row}")


if __name__ == "__main__":
    main()
