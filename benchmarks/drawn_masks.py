"""200 masks of a 1,920×1,080 picture as COCO's RLE and drawn over it, and the same in a plain Python loop over them.

    python -m benchmarks.drawn_masks --masks 200

The loop does what scripts usually do: `itertools.groupby` over a mask's px for its runs, and NumPy over the picture for
its colour and its outline. pycocotools is timed, too, where it is installed; it writes RLE in C. Each begins with bool
arrays and ends with RLE and a picture; the runs of some are compared, so that both do the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.arguments import Parser
from benchmarks.harness import as_rows, in_turn, ratio, ratio_value, save
from sensorium.results import Masks, rle
from sensorium.results.palette import colour

SIZE = (1080, 1920)


def blobs(count: int, seed: int = 0) -> NDArray[np.bool_]:
    """Round shapes with uneven edges, 20 to 500 px across, such as a search for everything finds."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *SIZE), bool)
    for mask in masks:
        side = int(np.exp(rng.uniform(np.log(20), np.log(500)))) + 3
        uneven = Image.fromarray((rng.random((6, 6)) * 255).astype(np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        y, x = np.mgrid[:side, :side] - side / 2
        shape = np.asarray(uneven) / 255 - 2.4 * np.hypot(y, x) / side > -0.4
        top, left = rng.integers(0, SIZE[0] - side // 2), rng.integers(0, SIZE[1] - side // 2)
        high, wide = min(side, SIZE[0] - top), min(side, SIZE[1] - left)
        mask[top : top + high, left : left + wide] = shape[:high, :wide]
    return masks


def loop_rle(masks: NDArray[np.bool_]) -> list[list[int]]:
    """The runs of each, column by column, zeros first."""
    found = []
    for mask in masks:
        counts: list[int] = []
        for value, run in itertools.groupby(mask.ravel(order="F").tolist()):
            if value and not counts:
                counts.append(0)
            counts.append(len(list(run)))
        found.append(counts)
    return found


def loop_drawn(masks: NDArray[np.bool_], image: Image.Image) -> Image.Image:
    """A colour over each, and its outline."""
    pixels = np.array(image)
    for i, mask in enumerate(masks):
        shade = np.array(colour(i))
        pixels[mask] = (0.5 * pixels[mask] + 0.5 * shade).astype(np.uint8)
        inner = np.pad(mask, 2, mode="edge")
        kept = mask.copy()
        for shift in range(5):
            kept &= inner[shift : shift + SIZE[0], 2:-2] & inner[2:-2, shift : shift + SIZE[1]]
        pixels[mask & ~kept] = shade
    return Image.fromarray(pixels)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    masks = blobs(arguments.masks)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    scores = np.ones(len(masks))
    kept = Masks(masks, scores)
    assert [rle.runs(mask).tolist() for mask in masks[:20]] == loop_rle(masks[:20])
    runs: dict[str, Callable[[], Any]] = {
        "loop, RLE": lambda: loop_rle(masks),
        "ours, RLE": lambda: Masks(masks, scores).rle,
        "loop, drawn": lambda: loop_drawn(masks, image),
        "ours, drawn": lambda: kept.plot(image),
    }
    if importlib.util.find_spec("pycocotools"):
        from pycocotools.mask import encode

        runs["pycocotools, RLE"] = lambda: [encode(np.asfortranarray(mask.view(np.uint8))) for mask in masks]
    found = in_turn(runs, len(masks), arguments)
    for measurement in found.values():
        print(f"  {measurement}")
    ratios = {}
    for what in ("RLE", "drawn"):
        ours, loop = found[f"ours, {what}"], found[f"loop, {what}"]
        ratios[what] = ratio_value(ours, loop)
        print(f"  {what}: {ratio(ours, loop)} the loop")
    spent = {who: sum(1 / found[f"{who}, {what}"].median for what in ratios) for who in ("ours", "loop")}
    ratios["both"] = spent["loop"] / spent["ours"]
    print(f"  both, one after the other: {ratios['both']:.1f}× the loop")
    if "pycocotools, RLE" in found:
        ratios["RLE, of pycocotools"] = ratio_value(found["ours, RLE"], found["pycocotools, RLE"])
        print(f"  RLE: {ratio(found['ours, RLE'], found['pycocotools, RLE'])} pycocotools")
    return {"masks": len(masks), "measurements": as_rows(list(found.values())), "ratios": ratios}


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--masks", type=int, default=200)
    arguments = parser.parse_args()
    print(f"{arguments.masks} masks of {SIZE[1]}x{SIZE[0]} px, masks per second")
    save("drawn-masks", run(arguments), arguments)


if __name__ == "__main__":
    main()
