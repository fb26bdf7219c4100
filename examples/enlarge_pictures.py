"""Makes pictures larger, in tiles, and saves each beside a drawing of before and after.

    python examples/enlarge_pictures.py --model caidas/swin2SR-classical-sr-x2-64 [--folder larger]

The model is fetched from the Hub at its first use; a local folder works offline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make pictures larger.")
    parser.add_argument("--model", default="caidas/swin2SR-classical-sr-x2-64", help="a Hub name or a folder")
    parser.add_argument("--folder", type=Path, default=Path("larger"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)

    paths = sorted(IMAGES.glob("ca*.jpg"))
    with pipeline("image-to-image", model=options.model) as enlarge:
        for path, larger in zip(paths, enlarge.stream(paths, tile_px=256), strict=True):
            larger.save(options.folder / f"{path.stem}.png")
            larger.plot(Image.open(path)).save(options.folder / f"{path.stem}-drawn.png")
            print(f"{path.name}: {', '.join(larger.lines())}")


if __name__ == "__main__":
    main()
