"""Train a head that finds named points, on a backbone in the package, and serve it.

    python examples/keypoints_of_your_own.py

It runs offline. The pictures are drawn here: an arrow somewhere on a coloured ground, whose tip and tail are to be
found. The backbone is frozen, so its maps are computed once. Prints the error in px before and after, and writes a
drawing.
"""

from __future__ import annotations

import argparse
import math
import random

import torch
from PIL import Image, ImageDraw
from torch.nn.functional import binary_cross_entropy_with_logits

from sensorium import AutoBackbone, Composite, ImageProcessor, build_head, pipeline
from sensorium.tasks.heads.keypoints import draw_heat_maps

STARTER = "starter/image-classification"
SIZE = 192


def arrow(rng: random.Random) -> tuple[Image.Image, list[tuple[float, float]]]:
    """A picture with an arrow, and the places of its tip and its tail."""
    ground = tuple(rng.randrange(120, 256) for _ in range(3))
    ink = tuple(rng.randrange(0, 90) for _ in range(3))
    angle, length = rng.uniform(0, 2 * math.pi), rng.uniform(50, 90)
    x, y = (rng.uniform(0.35, 0.65) * SIZE for _ in range(2))
    dx, dy = math.cos(angle) * length / 2, math.sin(angle) * length / 2
    tip, tail = (x + dx, y + dy), (x - dx, y - dy)
    image = Image.new("RGB", (SIZE, SIZE), ground)
    draw = ImageDraw.Draw(image)
    draw.line((tail, tip), fill=ink, width=6)
    barbs = [(tip[0] - 22 * math.cos(angle + turn), tip[1] - 22 * math.sin(angle + turn)) for turn in (-0.6, 0.6)]
    draw.polygon([tip, *barbs], fill=ink)
    return image, [tip, tail]


def error(composite: Composite, processor: ImageProcessor, rows: list) -> float:
    """The mean distance of found points from where they are, px."""
    find = pipeline("keypoint-detection", composite.eval(), processor=processor)
    results = find([image for image, _ in rows])
    apart = [
        math.dist(xy, point)
        for result, (_, points) in zip(results, rows, strict=True)
        for xy, point in zip(result.xy.tolist(), points, strict=True)
    ]
    return sum(apart) / len(apart)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="arrows", help="where the composite is saved")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    rng = random.Random(0)
    rows, held_out = [arrow(rng) for _ in range(arguments.pictures)], [arrow(rng) for _ in range(16)]
    stages = AutoBackbone.from_pretrained(STARTER).stage_names
    backbone = AutoBackbone.from_pretrained(STARTER, out_indices=list(range(len(stages)))[-3:]).freeze()
    processor = ImageProcessor.from_pretrained(STARTER)
    composite = build_head(backbone, ["tip", "tail"], task="keypoint-detection", width=32)
    print(f"before: {error(composite, processor, held_out):.1f} px off")

    with torch.no_grad():
        maps = composite.head.extract(backbone, processor([image for image, _ in rows])["pixel_values"])
    places = (
        torch.tensor([points for _, points in rows]) / SIZE
    )  # the processor only resizes: shares stay what they are
    optimizer = torch.optim.AdamW(composite.head.parameters(), lr=3e-3)
    composite.train()
    for step in range(arguments.steps):
        picked = torch.randperm(len(rows))[:16]
        logits = composite.head([each[picked] for each in maps])
        loss = binary_cross_entropy_with_logits(logits, draw_heat_maps(places[picked], size=tuple(logits.shape[-2:])))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}")
    print(f"after: {error(composite, processor, held_out):.1f} px off")

    composite.eval().save_pretrained(arguments.folder, processor)
    image, _ = held_out[0]
    result = pipeline("keypoint-detection", model=arguments.folder)(image)
    result.plot(image).save("arrow.png")
    for row in result:
        print(f"{row['label']}: ({row['x']:.0f}, {row['y']:.0f}), {row['score']:.2f}")


if __name__ == "__main__":
    main()
