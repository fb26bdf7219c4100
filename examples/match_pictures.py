"""Match the points of a picture with those of the same picture turned, and draw it.

    python examples/match_pictures.py --model ETH-CVG/lightglue_superpoint

The model comes from the Hub, or is a folder. Prints how many points were matched and, as the turn is known, how many of
them rightly; writes `matches.png`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from sensorium import pipeline

IMAGE = Path(__file__).parent / "pictures" / "castle.jpg"
TURN = 10  # degrees, counter-clockwise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ETH-CVG/lightglue_superpoint")
    parser.add_argument("--picture", default=str(IMAGE))
    arguments = parser.parse_args()

    image = Image.open(arguments.picture).convert("RGB")
    turned = image.rotate(TURN, Image.Resampling.BICUBIC)
    result = pipeline("keypoint-matching", model=arguments.model)(image, turned)

    angle, middle = np.deg2rad(TURN), np.array(image.size) / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    expected = (result.xy0 - middle) @ turn.T + middle
    right = np.linalg.norm(result.xy1 - expected, axis=1) < 5
    print(f"{len(result)} matches, {right.sum()} within 5 px of where the turn puts them")
    result.plot(image, turned, most=60).save("matches.png")


if __name__ == "__main__":
    main()
