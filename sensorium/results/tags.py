"""Names on drawings: small boxes of text that can be read and do not hide the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from sensorium.results.lettering import Colour, clean, fitting, width_of, write

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

_HIDDEN = 0.25  # how much of a picture tags may cover; further ones are left out
_WIDEST = 0.6  # of the picture's width that one tag may take


class _Tag(NamedTuple):
    """A box, and the text in it."""

    box: tuple[float, float, float, float]
    text: str
    fill: Colour


class Tags:
    """Places the names of objects, the most important first, and draws them, the most important on top.

    Their size grows with the picture. Each keeps clear of those before it. One that has no room is left out, and so are
    those that would cover more than a quarter of the picture between them.

    Attributes:
        size_px: of the text.
        height_px: of a tag.
    """

    def __init__(self, canvas: Image.Image) -> None:
        """Takes the picture to draw on, RGB."""
        self._canvas = canvas
        self._placed: list[_Tag] = []
        self._left = _HIDDEN * canvas.width * canvas.height  # px
        self.size_px = text_size(canvas)
        self.height_px = round(self.size_px * 1.3)
        self._margin = max(1, round(self.size_px / 4))

    def add(self, box: tuple[float, float, float, float], label: str, score: float | None, fill: Colour) -> None:
        """Puts a tag on a box's upper left corner, above it if there is room, else within; or elsewhere at the box.

        Args:
            box: left, top, right, bottom, px; a point, in whose middle the tag goes, where all is the same.
            label: untrusted; it is cut where the tag would be too wide.
            score: what follows it, and is never cut; None for nothing.
            fill: the tag's colour; the text is black or white, whichever can be read on it.
        """
        text = self._text(label, score)
        width, height = self._width(text), self.height_px
        if not text or width * height > self._left:
            return
        for x, y in _corners(box, width, height):
            left = min(max(0.0, x), max(0.0, self._canvas.width - width))
            top = min(max(0.0, y), max(0.0, self._canvas.height - height))
            place = (left, top, left + width, top + height)
            if not any(_meet(place, tag.box) for tag in self._placed):
                self._left -= width * height
                self._placed.append(_Tag(place, text, fill))
                return

    def width_px(self, label: str, score: float | None) -> float:
        """How wide the tag of a label is, px."""
        return self._width(self._text(label, score))

    def draw(self) -> None:
        """Draws them all."""
        from PIL import ImageDraw

        draw = ImageDraw.Draw(self._canvas)
        for (left, top, right, bottom), text, fill in reversed(self._placed):
            draw.rectangle((left, top, right, bottom), fill=fill)
            write(draw, (left + self._margin, (top + bottom) / 2), text, readable_on(fill), self.size_px)

    def _width(self, text: str) -> float:
        return width_of(text, self.size_px) + 2 * self._margin

    def _text(self, label: str, score: float | None) -> str:
        kept = "" if score is None else f"  {score:.2f}"
        room = _WIDEST * self._canvas.width - width_of(kept, self.size_px)
        return (fitting(clean(label), self.size_px, room) + kept).strip()


def text_size(image: Image.Image) -> int:
    """A size of text, px, that can be read on this picture when it is seen whole, and does not hide it."""
    side = math.sqrt(image.width * image.height)
    return min(round(max(11.0, side / 40)), max(8, min(image.size) // 8))


def line_width(image: Image.Image) -> int:
    """A width of lines, px, that suits this picture."""
    side = math.sqrt(image.width * image.height)
    return max(1 if min(image.size) < 128 else 2, round(side / 300))


def dot_radius(image: Image.Image) -> float:
    """The radius of a point, px, that suits this picture."""
    return max(2.0, math.sqrt(image.width * image.height) / 225)


def dot(draw: ImageDraw.ImageDraw, xy: tuple[float, float], radius: float, fill: Colour) -> None:
    """Draws a point with a white rim."""
    x, y = xy
    around, rim = (x - radius, y - radius, x + radius, y + radius), max(1, round(radius / 4))
    draw.ellipse(around, fill=fill, outline=(255, 255, 255), width=rim)


def readable_on(fill: Colour) -> Colour:
    """Black or white, whichever can be read on a colour."""
    return (0, 0, 0) if 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] > 130 else (255, 255, 255)


def _corners(box: tuple[float, float, float, float], width: float, height: float) -> Iterator[tuple[float, float]]:
    """Where the left upper corner of a tag may lie, the best place first.

    Args:
        box: that the tag belongs to, or a point.
        width: of the tag.
        height: of the tag.
    """
    left, top, right, bottom = box
    if box[:2] == box[2:]:
        for steps in (0, -1, 1, -2, 2):
            yield left - width / 2, top - height / 2 + steps * height
        return
    for x in (left, right - width):
        yield from ((x, y) for y in (top - height, top, bottom, bottom - height))
    for step in range(1, int((bottom - top) // height) - 1):
        yield from ((x, top + step * height) for x in (left, right - width))


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
