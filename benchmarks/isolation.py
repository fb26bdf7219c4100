"""What decoding untrusted pictures in helper processes costs, in turn with decoding them here.

    python benchmarks/isolation.py --pictures 10000

Prints, for pictures of several sizes, milliseconds a picture here and apart (medians of pairs), the time that copying
its pixels takes, and what is left; then the rate of a pipeline with every hundredth picture ending its helper, against
that of one which decodes here.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time

import numpy as np
from PIL import Image

import sensorium
from sensorium.errors import InputError
from sensorium.isolation.pool import HelperPool
from sensorium.processors import image_isolation
from sensorium.processors.media import MediaLimits, load_image

HERE, APART = MediaLimits(), MediaLimits.untrusted()
SIZES = [(160, 120), (500, 375), (1024, 768), (2048, 1536)]


def encoded(width, height, seed=0):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def seconds(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def one_by_one(pairs):
    for size in SIZES:
        data = encoded(*size)
        pixels = load_image(data, limits=APART).permute(1, 2, 0)
        times = {"here": [], "apart": [], "copy": []}
        for _ in range(pairs):
            times["here"].append(seconds(lambda data=data: load_image(data, limits=HERE)))
            times["apart"].append(seconds(lambda data=data: load_image(data, limits=APART)))
            times["copy"].append(seconds(lambda pixels=pixels: pixels.clone()))
        here, apart, copy = (1e3 * statistics.median(each) for each in times.values())
        print(
            f"{size[0]}x{size[1]}: here {here:.2f} ms, apart {apart:.2f}, a copy {copy:.2f}, "
            f"beyond it {apart - here - copy:.2f}"
        )


def rates(count, rounds):
    # helpers that fall over what ends with CRASH
    image_isolation.HELPERS = HelperPool("tests.processors.hostile_helper", image_isolation.SETTINGS)
    good = [encoded(640, 480, seed) for seed in range(20)]
    inputs = [good[i % 20] + (b"CRASH" if i % 100 == 50 else b"") for i in range(count)]
    pipes = {
        name: sensorium.pipeline("image-classification", "starter/image-classification", device="cpu", limits=limits)
        for name, limits in (("here", HERE), ("apart", APART))
    }
    found = {}
    for _ in range(rounds):
        for name, pipe in pipes.items():
            began = time.perf_counter()
            outcomes = pipe(inputs, on_error="return")
            found.setdefault(name, []).append(count / (time.perf_counter() - began))
            lost = sum(isinstance(each, InputError) for i, each in enumerate(outcomes) if i % 100 != 50)
            assert lost == 0, f"{lost} neighbours lost"
    here, apart = (statistics.median(each) for each in found.values())
    print(
        f"{count} pictures, of which one in a hundred ends its helper: {here:.0f} a second here, {apart:.0f} apart, "
        f"{apart / here:.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    one_by_one(given.pairs)
    rates(given.pictures, given.rounds)
