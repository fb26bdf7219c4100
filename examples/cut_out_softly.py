"""Cuts an object out of a picture with its soft edges: a mask by a box around it, and a matte of the mask's outline.

    python examples/cut_out_softly.py [PICTURE] [--segmenter NAME] [--model NAME] [--box LEFT TOP RIGHT BOTTOM]

The models are fetched from the Hub unless they are folders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut an object with soft edges out of a picture.")
    parser.add_argument("picture", type=Path, nargs="?", default=IMAGES / "owl.jpg")
    parser.add_argument("--segmenter", default="facebook/sam-vit-base@70c1a07")
    parser.add_argument("--model", default="hustvl/vitmatte-small-composition-1k")
    parser.add_argument("--box", type=float, nargs=4, metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"))
    parser.add_argument("--unknown-px", type=int, default=10, help="how far from the mask's outline hair may reach")
    parser.add_argument("--output", type=Path, default=Path("cut_out.png"))
    options = parser.parse_args()
    picture = Image.open(options.picture).convert("RGB")
    width, height = picture.size
    box = options.box or [0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]

    with pipeline("mask-generation", model=options.segmenter) as segment:
        mask = segment(image=picture, boxes=[box], multimask=False).mask(0)
    with pipeline("image-matting", model=options.model) as matte:
        found = matte(image=picture, mask=mask, unknown_px=options.unknown_px)
    print(f"{options.picture.name}: {', '.join(found.lines())}")
    found.cutout(picture).save(options.output)
    found.plot(picture).save(options.output.with_stem(options.output.stem + "_drawn"))


if __name__ == "__main__":
    main()
