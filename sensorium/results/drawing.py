"""What the results draw with, so that all drawings look alike. Labels are untrusted text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.lettering import Colour, clean, fitting, width_of, write
from sensorium.results.palette import shades

if TYPE_CHECKING:
    from PIL import Image

_INK = (20, 30, 45)


def to_rgb(image: Any) -> Image.Image:
    """A picture to draw on: an RGB copy, upright, as pipelines see it.

    Args:
        image: anything that a pipeline takes as a picture. What lies in memory may be of any size.

    Raises:
        InputError: it is no picture, or a damaged one.
        LimitError: a file with more pixels than `MediaLimits` has by default.
    """
    from PIL import Image

    from sensorium.processors.media import DEFAULT_LIMITS, load_pil

    in_memory = isinstance(image, Image.Image) or hasattr(image, "__array__")
    limits = replace(DEFAULT_LIMITS, max_pixels=2**62) if in_memory else DEFAULT_LIMITS
    loaded = load_pil(image, limits=limits)
    return loaded.copy() if loaded is image else loaded


def blend(
    image: Image.Image, mask: NDArray[np.bool_], fill: Colour, alpha: float = 0.5, *, at: tuple[int, int] = (0, 0)
) -> None:
    """Lays a colour over the part of a picture that a mask covers, in place.

    Args:
        image: RGB.
        mask: `(H, W)` bool.
        fill: the colour.
        alpha: how much of it, in [0, 1].
        at: (x, y) of the mask's first px on the picture.
    """
    from PIL import Image

    opacity = Image.fromarray(np.uint8(np.asarray(mask, dtype=bool)) * np.uint8(round(255 * alpha)))
    image.paste(fill, at, opacity)


def contour(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The px of a mask from which a px beside it is at most `width` px away."""
    edge = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return edge
    around = tuple(slice(max(0, int(at[0]) - width), int(at[-1]) + width + 1) for at in (rows, columns))
    part = mask[around]
    inner, kept = np.pad(part, width, mode="edge"), part.copy()
    for shift in range(-width, width + 1):
        kept &= inner[width + shift : width + shift + part.shape[0], width:-width]
        kept &= inner[width:-width, width + shift : width + shift + part.shape[1]]
    edge[around] = part & ~kept
    return edge


def same_size(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture itself, if a map of (height, width) px is its own.

    Raises:
        ValueError: it is of another size.
    """
    if image.size != size[::-1]:
        raise ValueError(f"the map is of {size[1]}x{size[0]} px, got a picture of {image.width}x{image.height} px")
    return image


def side_by_side(image: Image.Image, other: Image.Image) -> Image.Image:
    """Two RGB pictures of one size on white, one above the other where they are wide."""
    from PIL import Image

    width, height = image.size
    gap = max(2, min(width, height) // 150)
    across = width <= 2 * height
    canvas = Image.new("RGB", (2 * width + gap, height) if across else (width, 2 * height + gap), "white")
    canvas.paste(image, (0, 0))
    canvas.paste(other, (width + gap, 0) if across else (0, height + gap))
    return canvas


def beside(image: Image.Image, drawn: Image.Image, ends: tuple[str, str]) -> Image.Image:
    """A picture and what was drawn of it, side by side, or one above the other where they are wide; a scale below.

    Args:
        image: RGB.
        drawn: RGB, of the same size, in the colours of `palette.shades`.
        ends: what its darkest and its lightest colour stand for.
    """
    from PIL import Image, ImageDraw

    both = side_by_side(image, drawn)
    wide, high = both.size
    size_px = max(11, round(min(max(wide, high), 4 * min(image.size)) / 60))
    foot = 2 * size_px
    canvas = Image.new("RGB", (max(wide, 240), high + foot), "white")
    canvas.paste(both, ((canvas.width - wide) // 2, 0))
    draw, middle = ImageDraw.Draw(canvas), high + foot / 2
    first, last = size_px + width_of(ends[0], size_px), canvas.width - size_px - width_of(ends[1], size_px)
    write(draw, (size_px / 2, middle), ends[0], _INK, size_px)
    write(draw, (canvas.width - size_px / 2, middle), ends[1], _INK, size_px, anchor="rm")
    bar = shades(np.linspace(0, 1, max(1, int(last - first)), dtype=np.float32))[None]
    scale = Image.fromarray(bar).resize((bar.shape[1], max(4, size_px // 2)))
    canvas.paste(scale, (int(first), round(middle - scale.height / 2)))
    return canvas


def draw_bars(image: Any, labels: Sequence[str], scores: Sequence[float]) -> Image.Image:
    """Draws scores as bars under a picture, at least 240 px wide."""
    from PIL import Image, ImageDraw

    rgb = to_rgb(image)
    width, row = max(rgb.width, 240), _row_height(rgb)
    canvas = Image.new("RGB", (width, rgb.height + row * len(labels) + 8), "white")
    canvas.paste(rgb, ((width - rgb.width) // 2, 0))
    draw, size_px, side = ImageDraw.Draw(canvas), round(row * 0.62), row // 3
    longest = max((abs(s) for s in scores), default=1.0)
    scale = max(longest, 1.0)  # probabilities fill their share of the width, logits that of the largest
    for i, (label, score) in enumerate(zip(labels, scores, strict=True)):
        top = rgb.height + 4 + i * row
        length = round((width - 2 * side) * max(0.0, score) / scale)
        draw.rectangle((side, top + 2, side + length, top + row - 2), fill=(196, 222, 247))
        kept = f"  {score:.3f}"
        room = width - 2 * side - 8 - width_of(kept, size_px)
        write(draw, (side + 4, top + row / 2), fitting(clean(label), size_px, room) + kept, _INK, size_px)
    return canvas


def draw_lines(image: Any, texts: Sequence[str]) -> Image.Image:
    """Writes texts under a picture, wrapped to its width, at least 240 px wide.

    Args:
        image: as for `to_rgb`.
        texts: untrusted; what cannot be printed is escaped, and each is cut at 2,000 characters.
    """
    from PIL import Image, ImageDraw

    rgb = to_rgb(image)
    width, row = max(rgb.width, 240), _row_height(rgb)
    size_px = round(row * 0.62)
    lines = [line for text in texts for line in _wrapped(clean(text, max_length=2000), size_px, width - 20)]
    canvas = Image.new("RGB", (width, rgb.height + row * len(lines) + 8), "white")
    canvas.paste(rgb, ((width - rgb.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        write(draw, (10, rgb.height + 4 + (i + 0.5) * row), line, _INK, size_px)
    return canvas


def _row_height(image: Image.Image) -> int:
    """Of a line of text under a picture, px; that under a long one is not taller than the picture."""
    return max(18, min(image.width, 2 * image.height) // 28)


def _wrapped(text: str, size_px: int, width_px: int) -> list[str]:
    """The lines of a text, broken at spaces, or within a word that is wider than a line."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width_of(joined, size_px) <= width_px:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and width_of(lines[-1] + letter, size_px) > width_px:
                lines.append("")
            lines[-1] += letter
    return lines
