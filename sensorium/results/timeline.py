"""Stretches of text in the order of time, drawn as rows, and under the spectrogram of what was heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.drawing import draw_lines
from sensorium.results.lettering import clean, fitting, write
from sensorium.results.palette import colour
from sensorium.results.spectrogram import draw_spectrogram

if TYPE_CHECKING:
    from PIL import Image

Seconds = NDArray[np.float64]

_INK, _GREY = (20, 30, 45), (110, 110, 120)
_LANE_PX = 26
_TINTS = ((196, 222, 247), (250, 214, 165))


def clock(ms: int, point: str) -> str:
    """hh:mm:ss and milliseconds after a comma or a point."""
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d}{point}{ms % 1000:03d}"


def draw_rows(texts: Sequence[str], starts: Seconds, ends: Seconds, *, width_px: int) -> Image.Image:
    """Draws a row for each text: a bar from its start to its end, and the text beside it.

    Args:
        texts: `(N,)` untrusted texts, at least one.
        starts: `(N,)` seconds.
        ends: `(N,)` seconds.
        width_px: of the drawing, at least 240.
    """
    from PIL import Image, ImageDraw

    clocks = [clock(ms, ".")[:-1] for ms in np.rint(starts * 1000).clip(min=0).astype(np.int64).tolist()]
    row, left, width = 22, 84, max(240, width_px)
    track = (width - left) * 2 // 5
    canvas = Image.new("RGB", (width, row * (len(texts) + 1) + 6), "white")
    draw = ImageDraw.Draw(canvas)
    last = float(ends.max())
    scale = track / (last or 1.0)
    write(draw, (left, row / 2), "0 s", _GREY, 13)
    write(draw, (left + track, row / 2), f"{last:.1f} s", _GREY, 13, anchor="rm")
    for i, (text, start, end) in enumerate(zip(texts, starts, ends, strict=True)):
        y = row * (i + 1) + row / 2
        write(draw, (6, y), clocks[i], _GREY, 11)
        draw.line((left, y, left + track, y), fill=(225, 228, 232))
        x = left + start * scale
        draw.rectangle((x, y - 6, max(x + 2, left + end * scale), y + 6), fill=colour(1))
        room = width - left - track - 20
        write(draw, (left + track + 12, y), fitting(clean(text, max_length=200), 13, room), _INK, 13)
    return canvas


def draw_under_audio(
    audio: Any, whole: str, texts: Sequence[str], starts: Seconds, ends: Seconds, *, width_px: int
) -> Image.Image:
    """Draws a sound's spectrogram, a lane of boxes under it, a box for each text, and the whole text below.

    Args:
        audio: in any form that a pipeline takes, an array with its rate.
        whole: the text.
        texts: `(N,)` stretches of it; may be none.
        starts: `(N,)` seconds.
        ends: `(N,)` seconds.
        width_px: of the drawing, at least 240.

    Raises:
        InputError: the sound cannot be read.
    """
    from PIL import Image, ImageDraw

    heard = draw_spectrogram(audio, width_px=width_px)
    canvas = Image.new("RGB", (heard.image.width, heard.image.height + (_LANE_PX if len(texts) else 0)), "white")
    canvas.paste(heard.image, (0, 0))
    draw, top = ImageDraw.Draw(canvas), heard.image.height
    for i, (text, start, end) in enumerate(zip(texts, starts, ends, strict=True)):
        left, right = heard.x_of(float(start)), heard.x_of(float(end))
        draw.rectangle((left, top, max(left + 1, right - 1), top + _LANE_PX - 6), fill=_TINTS[i % 2])
        write(draw, (left + 3, top + _LANE_PX / 2 - 3), fitting(clean(text), 12, right - left - 6), _INK, 12)
    return draw_lines(canvas, [whole])
