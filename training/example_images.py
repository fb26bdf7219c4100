"""Compose the example pictures in `examples/pictures/`.

    python -m training.example_images

Each seed was picked by eye; none of these scenes is among the training scenes, which are smaller and drawn from
other random states.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.glyphs import FONT, LABELS, load_glyphs
from training.scenes import RULES, compose

FOLDER = Path(__file__).parents[1] / "examples" / "pictures"
STATE = 20_261_122  # keeps these scenes apart from every training and held-out set
EXAMPLE_RULES = replace(RULES, main=(0.5, 0.75), clutter=0.8, clutter_count=(3, 9), blur=0.006, noise=8.0)
EXAMPLES: dict[str, tuple[int, int, int]] = {  # label: width, height, seed
    "bicycle": (640, 480, 6),
    "camera": (480, 480, 3),
    "car": (500, 375, 5),
    "castle": (640, 360, 6),
    "cat": (500, 375, 8),
    "elephant": (375, 500, 3),
    "guitar": (427, 640, 2),
    "owl": (320, 240, 4),
    "pizza": (500, 375, 1),
    "sailboat": (640, 427, 5),
    "sunflower": (500, 375, 5),
    "umbrella": (400, 300, 9),
}


def main() -> None:
    """Write one JPEG a label."""
    parser = argparse.ArgumentParser(description="Compose the example pictures.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures")
    parser.add_argument("--font", type=Path, default=FONT, help="NotoColorEmoji.ttf")
    options = parser.parse_args()
    glyphs = load_glyphs(options.font)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (width, height, seed) in EXAMPLES.items():
        label = list(LABELS).index(name)
        rng = np.random.default_rng([STATE, label, seed])
        scene = compose(rng, label, glyphs, size=(height, width), rules=EXAMPLE_RULES)
        scene.save(options.out / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
