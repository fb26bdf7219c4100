"""As many colours as there are classes, each as far from the others as can be; and shades for numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

FIRST: tuple[Colour, ...] = (
    (230, 57, 70), (29, 125, 190), (42, 157, 88), (244, 150, 40), (131, 80, 196), (0, 160, 166), (214, 64, 150),
    (140, 110, 50), (90, 140, 20), (70, 90, 200), (200, 90, 50), (20, 110, 100), (170, 50, 190), (110, 110, 120),
)  # fmt: skip
"""Colours that can be told apart from each other and from most pictures."""

SHADES: tuple[Colour, ...] = (
    (0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103), (188, 55, 84),
    (221, 81, 58), (243, 120, 25), (252, 165, 10), (246, 215, 70), (252, 255, 164),
)  # fmt: skip
"""Matplotlib's "inferno" at tenths: from dark to light in even steps, which read in grey and to the colour-blind."""

_COUNT = 1024
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""From linear sRGB, under D65."""


def colour(number: int) -> Colour:
    """The colour of the class or object of this number; 1,024 are different."""
    at = number % _COUNT
    return FIRST[at] if at < len(FIRST) else _all()[at]


def shades(shares: NDArray[Any], stops: Sequence[Colour] = SHADES) -> NDArray[np.uint8]:
    """`(…, 3)` RGB of numbers from 0 to 1: colours between the stops, which lie evenly."""
    ramp = np.linspace(0, 1, 256)
    at = np.linspace(0, 1, len(stops))
    table = np.stack([np.interp(ramp, at, [stop[channel] for stop in stops]) for channel in range(3)], axis=-1)
    levels = np.asarray(shares * 255).round().clip(0, 255).astype(np.uint8)
    return np.asarray(table.round().astype(np.uint8)[levels])


@lru_cache(maxsize=1)
def _all() -> tuple[Colour, ...]:
    """The first ones, then always the one of a grid that is farthest from all before, as the eye sees it."""
    steps = np.arange(8, 256, 16)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    seen = _lab(grid)
    visible = (seen[:, 0] > 25) & (seen[:, 0] < 90)  # neither black nor white
    grid, seen = grid[visible], seen[visible]
    chosen = list(FIRST)
    nearest = np.full(len(grid), np.inf)
    for one in _lab(np.array(FIRST)):
        nearest = np.minimum(nearest, np.linalg.norm(seen - one, axis=1))
    while len(chosen) < _COUNT:
        at = int(nearest.argmax())
        red, green, blue = grid[at].tolist()
        chosen.append((red, green, blue))
        nearest = np.minimum(nearest, np.linalg.norm(seen - seen[at], axis=1))
    return tuple(chosen)


def _lab(colours: NDArray[np.int_]) -> NDArray[np.float64]:
    """`(N, 3)` CIELAB of `(N, 3)` sRGB, under D65: distances there are differences that are seen."""
    unit = colours / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _XYZ.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
