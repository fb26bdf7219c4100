"""The frames of a film by their numbers, made ready for the model on a thread of their own, one ahead."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sensorium.errors import InputError, OptionError
from sensorium.processors.limits import MediaLimits
from sensorium.processors.video_frame import VideoFrame
from sensorium.processors.video_live import LiveVideo
from sensorium.processors.video_reading import open_video
from sensorium.tasks.base import Batch

AT_ONCE = 16
"""Frames that are held while a film is gone through backwards: each stretch is decoded forwards."""

_KEPT = 2  # frames that are held in case they are asked for again

Fit = Callable[[Tensor], Batch]
"""Makes of `(3, H, W)` what the model takes."""


@dataclass(frozen=True)
class FittedFrame:
    """A frame as it is, and as the model takes it.

    Attributes:
        frame: as it is.
        inputs: as the model takes it.
    """

    frame: VideoFrame
    inputs: Batch

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frame, px."""
        return self.frame.pixels.shape[1], self.frame.pixels.shape[2]


class OpenFilm:
    """A film that is open, for one thread at a time.

    Args:
        source: as `open_video` takes it.
        fit: prepares a frame.
        limits: what the film may cost.

    Attributes:
        total: how many frames it has; None for a camera, whose frames come but once.
        name: what to call it in a message.

    Raises:
        InputError, LimitError: as `open_video`.
    """

    def __init__(self, source: Any, fit: Fit, limits: MediaLimits) -> None:
        self._fit = fit
        self._reader = open_video(source, limits=limits)
        try:
            self.total: int | None = None if isinstance(self._reader, LiveVideo) else self._reader.frames
        except BaseException:
            self._reader.close()
            raise
        self.name = self._reader.name
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sensorium-film")
        self._coming: Iterator[VideoFrame] = iter(())
        self._next = -1
        self._last: OrderedDict[int, FittedFrame] = OrderedDict()

    def frame(self, number: int) -> FittedFrame:
        """One of the film's frames.

        Raises:
            InputError: `frame-outside`, a camera's that has gone; those of decoding.
        """
        fitted = self._found(self._asked(number))
        if fitted is None:
            raise self._gone(number)
        return fitted

    def forwards(self, start: int, end: int | None) -> Iterator[FittedFrame]:
        """The frames from one on, to the film's end or before another, each while the one before it is worked on."""
        stop, number = self.total if end is None else end, start
        coming = None if stop is not None and start >= stop else self._asked(start)
        while coming is not None:
            fitted = self._found(coming)
            if fitted is None:
                return
            number += 1
            coming = None if number == stop else self._asked(number)
            yield fitted

    def backwards(self, start: int, end: int) -> Iterator[FittedFrame]:
        """The frames from one back to another.

        Raises:
            InputError: `endless`, a camera's cannot be had again.
        """
        if self.total is None:
            raise InputError(
                f"{self.name}: expected a film that can be read again, got a camera. Go through it forwards.",
                code="endless",
                source=self.name,
            )
        for stop in range(start + 1, end, -AT_ONCE):
            numbers = range(max(end, stop - AT_ONCE), stop)
            stretch = [self._asked(number) for number in numbers]
            yield from reversed([each.result() for each in stretch])

    def close(self) -> None:
        """Closes the film, when the frame that is being read is there."""
        self._pool.submit(self._reader.close)
        self._pool.shutdown(wait=False, cancel_futures=False)
        self._last.clear()

    def _asked(self, number: int) -> Future[FittedFrame]:
        try:
            return self._pool.submit(self._take, number)
        except RuntimeError:  # it was closed, maybe by another thread
            raise OptionError("the session was closed, and its film with it; open it again") from None

    @staticmethod
    def _found(coming: Future[FittedFrame]) -> FittedFrame | None:
        """None at the end of a camera's frames."""
        try:
            return coming.result()
        except EOFError:
            return None

    def _take(self, number: int) -> FittedFrame:
        """On the thread that reads."""
        if number in self._last:
            return self._last[number]
        if number != self._next:
            self._coming = self._from(number)
        self._next = -1  # unless all goes well
        frame = next(self._coming, None)
        self._next = number + (frame is not None)
        if frame is None:
            raise EOFError
        fitted = FittedFrame(frame, self._fit(frame.pixels))
        self._last[number] = fitted
        while len(self._last) > _KEPT:
            self._last.popitem(last=False)
        return fitted

    def _from(self, number: int) -> Iterator[VideoFrame]:
        if self.total is not None:
            return iter(self._reader.read(range(number, self.total)))
        if self._next >= 0 or number != 0:
            raise self._gone(number)
        assert isinstance(self._reader, LiveVideo)
        return self._reader.live()

    def _gone(self, number: int) -> InputError:
        return InputError(
            f"frame {number} of {self.name} cannot be had: of a camera there are the last frame and those that come",
            code="frame-outside",
            source=self.name,
        )
