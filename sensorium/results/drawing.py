"""What the results draw with, so that all drawings look alike. Labels are untrusted text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 57, 70), (29, 125, 190), (42, 157, 88), (244, 150, 40), (131, 80, 196), (0, 160, 166), (214, 64, 150),
    (140, 110, 50), (90, 140, 20), (70, 90, 200), (200, 90, 50), (20, 110, 100), (170, 50, 190), (110, 110, 120),
)  # fmt: skip
"""Colours that can be told apart from each other and from most pictures."""


def to_rgb(image: Any) -> Image.Image:
    """A picture to draw on: an RGB copy.

    Args:
        image: a PIL image, or an `(H, W)` or `(H, W, 3)` uint8 array.
    """
    from PIL import Image

    pil_image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    return pil_image.copy() if pil_image.mode == "RGB" else pil_image.convert("RGB")


def colour(number: int) -> Colour:
    """The colour of the class or object of this number."""
    return PALETTE[number % len(PALETTE)]


@lru_cache(maxsize=32)
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow brings, at this size."""
    from PIL import ImageFont

    return ImageFont.load_default(max(6, size_px))


def text_size(image: Image.Image) -> int:
    """A size of text, px, that can be read on this picture and does not hide it."""
    return min(28, max(11, round(max(image.size) / 50)))


def line_width(image: Image.Image) -> int:
    """A width of lines, px, that suits this picture."""
    return max(2, round(max(image.size) / 320))


def draw_tag(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, fill: Colour, *, size_px: int = 12) -> None:
    """Writes a text on a filled box that stands on the point, moved into the picture where it would leave it.

    Args:
        draw: of the picture.
        xy: the box's lower left corner, px.
        text: untrusted; what cannot be printed is escaped, and it is cut at 60 characters.
        fill: the box's colour; the text is black or white, whichever can be read on it.
        size_px: of the text.
    """
    shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    face = font(size_px)
    left, top, right, bottom = draw.textbbox((0, 0), shown, font=face)
    width, height = right - left + 6, bottom - top + 4
    canvas_width, canvas_height = draw.im.size
    x = min(max(0.0, xy[0]), max(0.0, canvas_width - width))
    y = min(max(0.0, xy[1] - height), max(0.0, canvas_height - height))
    draw.rectangle((x, y, x + width, y + height), fill=fill)
    bright = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] > 150
    draw.text((x + 3 - left, y + 2 - top), shown, fill=(0, 0, 0) if bright else (255, 255, 255), font=face)


def blend(image: Image.Image, mask: NDArray[np.bool_], fill: Colour, alpha: float = 0.5) -> None:
    """Lays a colour over the part of a picture that a mask covers, in place.

    Args:
        image: RGB.
        mask: `(H, W)` bool, of the picture's size.
        fill: the colour.
        alpha: how much of it, in [0, 1].
    """
    from PIL import Image

    opacity = Image.fromarray(np.uint8(np.asarray(mask, dtype=bool)) * np.uint8(round(255 * alpha)))
    image.paste(fill, (0, 0), opacity)


def draw_bars(image: Any, labels: Sequence[str], scores: Sequence[float]) -> Image.Image:
    """Draws scores as bars under a picture, at least 240 px wide."""
    from PIL import Image, ImageDraw

    rgb = to_rgb(image)
    width, row = max(rgb.width, 240), max(18, rgb.width // 28)
    canvas = Image.new("RGB", (width, rgb.height + row * len(labels) + 8), "white")
    canvas.paste(rgb, ((width - rgb.width) // 2, 0))
    draw, face = ImageDraw.Draw(canvas), font(round(row * 0.62))
    longest = max((abs(s) for s in scores), default=1.0)
    scale = max(longest, 1.0)  # probabilities fill their share of the width, logits that of the largest
    for i, (label, score) in enumerate(zip(labels, scores, strict=True)):
        top = rgb.height + 4 + i * row
        length = round((width - 12) * max(0.0, score) / scale)
        draw.rectangle((6, top + 2, 6 + length, top + row - 2), fill=(196, 222, 247))
        draw.text((10, top + row / 2), f"{label}  {score:.3f}", fill=(20, 30, 45), font=face, anchor="lm")
    return canvas


def draw_lines(image: Any, texts: Sequence[str]) -> Image.Image:
    """Writes texts under a picture, wrapped to its width, at least 240 px wide.

    Args:
        image: as for `to_rgb`.
        texts: untrusted; what cannot be printed is escaped, and each is cut at 2,000 characters.
    """
    from PIL import Image, ImageDraw

    rgb = to_rgb(image)
    width, row = max(rgb.width, 240), max(18, rgb.width // 28)
    face = font(round(row * 0.62))
    lines = [line for text in texts for line in _wrapped(printable(text, max_length=2000), face, width - 20)]
    canvas = Image.new("RGB", (width, rgb.height + row * len(lines) + 8), "white")
    canvas.paste(rgb, ((width - rgb.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        draw.text((10, rgb.height + 4 + (i + 0.5) * row), line, fill=(20, 30, 45), font=face, anchor="lm")
    return canvas


def printable(text: str, *, max_length: int = 60) -> str:
    """An untrusted text as one line: line ends become spaces, what cannot be printed is escaped, and the rest cut."""
    line = " ".join(text[: 2 * max_length].split())
    shown = line if line.isprintable() else line.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= max_length else shown[: max_length - 1] + "…"


def _wrapped(text: str, face: Any, width_px: int) -> list[str]:
    """The lines of a text, broken at spaces, or within a word that is wider than a line."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if face.getlength(joined) <= width_px:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and face.getlength(lines[-1] + letter) > width_px:
                lines.append("")
            lines[-1] += letter
    return lines
