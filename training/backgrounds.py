"""Painted backgrounds: gradients, clouds of noise, stripes, checks, dots and horizons.

Everything is drawn small with NumPy and enlarged with Pillow, so that a background costs about a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

Painter = Callable[[np.random.Generator, int, int], Image.Image]


def paint_background(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """Paint one background of a kind drawn by chance.

    Returns:
        An RGB picture of `(width, height)` px.
    """
    painters: tuple[Painter, ...] = (_flat, _gradient, _clouds, _stripes, _checks, _dots, _horizon)
    image = painters[rng.integers(len(painters))](rng, height, width)
    if rng.random() < 0.35:  # uneven light or dirt over any of them
        image = Image.blend(image, _clouds(rng, height, width), rng.uniform(0.1, 0.4))
    return image


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Draw an RGB colour in [0, 255]; greyish half of the time, as most real backgrounds are."""
    colour = rng.uniform(0, 255, 3)
    if rng.random() < 0.5:
        colour = colour.mean() + (colour - colour.mean()) * 0.35
    return colour


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _mix(rng: np.random.Generator, weight: np.ndarray) -> Image.Image:
    """Blend two colours by an `(H, W)` weight in [0, 1]."""
    first, second = _colour(rng), _colour(rng)
    return _image(first + (second - first) * weight[..., None])


def _flat(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    return Image.new("RGB", (width, height), tuple(int(c) for c in _colour(rng)))


def _gradient(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    y, x = np.mgrid[0:1:24j, 0:1:32j]
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        weight = x * np.cos(angle) + y * np.sin(angle)
    else:
        weight = np.hypot(x - rng.random(), y - rng.random())
    weight = (weight - weight.min()) / (np.ptp(weight) + 1e-6)
    return _mix(rng, weight).resize((width, height), Image.Resampling.BICUBIC)


def _clouds(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    cells = int(rng.choice([3, 6, 12, 24, 48]))
    grid = np.stack([_colour(rng) for _ in range(3)])[rng.integers(3, size=(cells, cells))]
    grid = grid + rng.normal(0, 25, grid.shape)
    filters = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)
    return _image(grid).resize((width, height), filters[rng.integers(2)])


def _grid(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Give turned coordinates in units of the picture's shortest edge."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / min(height, width)
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _stripes(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    u, _ = _grid(rng, height, width)
    wave = np.sin(u * rng.uniform(10, 70) + rng.uniform(0, 6))
    return _mix(rng, np.clip(wave * rng.choice([0.5, 5.0]) + 0.5, 0, 1))


def _checks(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    u, v = _grid(rng, height, width)
    frequency = rng.uniform(3, 14)
    return _mix(rng, ((np.floor(u * frequency) + np.floor(v * frequency)) % 2).astype(np.float32))


def _dots(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    u, v = _grid(rng, height, width)
    frequency, radius = rng.uniform(3, 14), rng.uniform(0.15, 0.42)
    distance = np.hypot(u * frequency % 1 - 0.5, v * frequency % 1 - 0.5)
    return _mix(rng, np.clip((radius - distance) * 12 + 0.5, 0, 1))


def _horizon(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    image, ground = _gradient(rng, height, width), _clouds(rng, height, width)
    level = int(height * rng.uniform(0.35, 0.8))
    image.paste(ground.crop((0, level, width, height)), (0, level))
    return image
