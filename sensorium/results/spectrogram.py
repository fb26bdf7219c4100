"""A sound as a picture: its mel spectrogram with seconds and pitches beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.lettering import width_of, write
from sensorium.results.palette import shades

if TYPE_CHECKING:
    from PIL import Image

LEFT_PX, RIGHT_PX, FOOT_PX = 46, 12, 22
"""Room beside and below the spectrogram, for pitches and seconds."""

_HEIGHT_PX = 160
_GREY = (110, 110, 120)
_PITCHES = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)


@dataclass(frozen=True)
class Spectrogram:
    """A drawn spectrogram.

    Attributes:
        image: RGB.
        seconds: how long the sound lasts.
    """

    image: Image.Image
    seconds: float

    def x_of(self, second: float) -> float:
        """Where a moment lies in the picture, px."""
        share = min(max(second / self.seconds, 0.0), 1.0) if self.seconds else 0.0
        return LEFT_PX + share * (self.image.width - LEFT_PX - RIGHT_PX)


def draw_spectrogram(audio: Any, *, width_px: int) -> Spectrogram:
    """Draws how loud a sound is at each moment and pitch.

    Args:
        audio: in any form that a pipeline takes, but for an array without its rate.
        width_px: of the drawing, at least 240.

    Raises:
        InputError: it is no sound, or a damaged one, or an array without a rate.
    """
    from PIL import Image, ImageDraw

    from sensorium.processors.audio_spectrogram import mel_spectrogram

    width = max(240, width_px)
    wide = width - LEFT_PX - RIGHT_PX
    mel = mel_spectrogram(audio, columns=wide, bands=_HEIGHT_PX // 2)
    canvas = Image.new("RGB", (width, _HEIGHT_PX + FOOT_PX + 6), "white")
    drawn = Image.fromarray(_shaded(mel.levels[::-1]))
    canvas.paste(drawn.resize((wide, _HEIGHT_PX), Image.Resampling.NEAREST), (LEFT_PX, 6))
    draw = ImageDraw.Draw(canvas)
    last = float("inf")
    for hertz in (pitch for pitch in _PITCHES if pitch < mel.rate / 2 * 0.97):
        y = 6 + _HEIGHT_PX * (1 - (mel.band_of(hertz) + 0.5) / len(mel.levels))
        if last - y >= 14:
            draw.line((LEFT_PX - 4, y, LEFT_PX, y), fill=_GREY)
            told = f"{hertz // 1000} kHz" if hertz >= 1000 else str(hertz)
            write(draw, (LEFT_PX - 7, y), told, _GREY, 11, anchor="rm")
            last = y
    spectrogram = Spectrogram(canvas, mel.seconds)
    for second in _ticks(mel.seconds, wide):
        x = spectrogram.x_of(second)
        draw.line((x, _HEIGHT_PX + 6, x, _HEIGHT_PX + 10), fill=_GREY)
        write(draw, (x - width_of(f"{second:g} s", 11) / 2, _HEIGHT_PX + 18), f"{second:g} s", _GREY, 11)
    return spectrogram


def _shaded(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`(H, W, 3)` colours of decibels below the loudest."""
    from sensorium.processors.audio_spectrogram import RANGE_DB

    return shades(1 + levels / RANGE_DB)


def _ticks(seconds: float, width_px: int) -> list[float]:
    """Round moments, at least 60 px apart."""
    least = seconds * 60 / width_px
    steps = (scale * step for scale in 10.0 ** np.arange(-3, 6) for step in (1, 2, 5))
    step = next((step for step in steps if step >= least), 1.0)
    return [round(i * step, 6) for i in range(int(seconds / step) + 1)] if seconds else [0.0]
