"""One frame of a film, which tasks take as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """A frame of a film: whatever takes a picture takes it, and results of it know their film and their time.

    Attributes:
        pixels: `(3, H, W)` RGB, uint8 (float32 in [0, 255] of a floating-point array), upright; not to be written to.
        index: its number in the film, from 0.
        time_s: when it is shown, seconds from the film's first frame; None for a list of pictures without a rate.
        source: the path or URL of the film; None for one that has none.
    """

    pixels: Tensor
    index: int
    time_s: float | None
    source: str | None

    def __repr__(self) -> str:
        height, width = self.pixels.shape[-2:]
        moment = "" if self.time_s is None else f" at {self.time_s:.3f} s"
        return f"VideoFrame({self.source or 'film'}, {self.index}{moment}, {width}x{height} px)"
