"""`frames`: a film's frames as inputs of any task for pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import OptionError
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits
from sensorium.processors.video_frame import VideoFrame
from sensorium.processors.video_live import LiveVideo
from sensorium.processors.video_reading import open_video

_TICK = 1e-6  # seconds by which a moment may be before a frame's and still show it: what floats lose


class Frames:
    """Frames of a film, read anew each time that they are gone through, one at a time."""

    def __init__(
        self,
        source: Any,
        *,
        fps: float | None,
        start_s: float,
        end_s: float | None,
        rate: float | None,
        limits: MediaLimits,
    ) -> None:
        self._source, self._rate, self._limits = source, rate, limits
        self._fps, self._start_s, self._end_s = fps, start_s, math.inf if end_s is None else end_s

    def __iter__(self) -> Iterator[VideoFrame]:
        with open_video(self._source, limits=self._limits, rate=self._rate) as reader:
            if isinstance(reader, LiveVideo):
                yield from self._as_they_come(reader.live())
            elif self._fps is None and self._start_s == 0 and self._end_s == math.inf:
                yield from reader.read(range(reader.frames))
            else:
                yield from reader.read(int(index) for index in self._chosen(reader.times))

    def _chosen(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """The numbers of the frames that are shown at the moments asked for; none twice."""
        if self._fps is None:
            return np.flatnonzero((times >= self._start_s - _TICK) & (times < self._end_s))
        first = np.maximum(np.ceil((times - self._start_s - _TICK) * self._fps), 0)
        moments = self._start_s + first / self._fps  # the first one at which each frame may be shown
        gone = np.append(times[1:], times[-1] + 2 * _TICK)  # of the last frame no more is known than when it comes
        return np.flatnonzero((moments + _TICK < gone) & (moments < self._end_s))

    def _as_they_come(self, coming: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        due = self._start_s
        for frame in coming:
            assert frame.time_s is not None
            if frame.time_s >= self._end_s:
                return
            if frame.time_s >= due - _TICK:
                yield frame
                if self._fps is not None:  # what was missed while nobody took any is not made up for
                    passed = math.floor((frame.time_s - self._start_s + _TICK) * self._fps) + 1
                    due = self._start_s + passed / self._fps

    def __repr__(self) -> str:
        return f"frames({self._source!r:.100}, fps={self._fps})"


def frames(
    source: Any,
    *,
    fps: float | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    rate: float | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Frames:
    """The frames of a film, for any task that takes pictures; results know their film and their time.

        for result in detect.stream(frames("x.mp4", fps=2)):
            print(result.time_s, result.lines())

    Args:
        source: a film: a path, an http(s) URL, a `data:` URI, bytes, a binary file; a list, a 4-D array or a folder of
            pictures; or the number of a camera, from 0, whose frames come until the loop is left.
        fps: frames a second to take: those that are shown at 0, 1/fps, 2/fps, … seconds, each once at most. None for
            every frame.
        start_s: seconds from the film's start from which on frames are taken.
        end_s: seconds from the film's start at which to end; None for the film's end.
        rate: frames a second of a list, an array or a folder of pictures, which do not say.
        limits: what the film may cost, and where it may come from.

    Returns:
        An iterable of `VideoFrame`; the film is opened when it is gone through, and read anew each time.

    Raises:
        OptionError: an fps that is not above 0, or times that are not from 0 and rising.
        InputError: while it is gone through: not a film, or a damaged one.
        LimitError: while it is gone through: a film, or an address, beyond the limits.
    """
    if fps is not None and not (_is_number(fps) and 0 < fps < math.inf):
        raise OptionError(f"fps is a number of frames a second above 0, or None for every frame, got {fps!r}")
    if not (_is_number(start_s) and 0 <= start_s < math.inf):
        raise OptionError(f"start_s is a number of seconds from 0, got {start_s!r}")
    if end_s is not None and not (_is_number(end_s) and end_s > start_s):
        raise OptionError(f"end_s is a number of seconds above start_s, or None for the film's end, got {end_s!r}")
    return Frames(source, fps=fps, start_s=start_s, end_s=end_s, rate=rate, limits=limits)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
