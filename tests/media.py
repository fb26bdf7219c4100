"""Pictures for tests: the same for every test, of several sizes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def make_image(width=64, height=48, seed=0):
    """A smooth RGB picture with some noise, as photographs are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / rng.uniform(5, 30) + y / rng.uniform(5, 30) + rng.uniform(0, 6)) for _ in range(3)]
    values = 127 + 90 * np.stack(waves, -1) + rng.normal(0, 10, (height, width, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def jpeg(width=64, height=48, seed=0, quality=90):
    """The bytes of a JPEG."""
    buffer = io.BytesIO()
    make_image(width, height, seed).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


SIZES = [(64, 48), (48, 64), (40, 40), (33, 97), (64, 48), (200, 31)]


def make_images():
    """Six pictures of five sizes."""
    return [make_image(width, height, seed) for seed, (width, height) in enumerate(SIZES)]
