"""A film whose frames are read one after another, wherever it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sensorium.processors.video_faults import without_times
from sensorium.processors.video_frame import VideoFrame


class VideoReader(ABC):
    """A film. A context manager; not for several threads at once.

    Attributes:
        name: what to call it in a message.
        source: its path or URL; None for one that has none.
    """

    name: str
    source: str | None = None

    @property
    @abstractmethod
    def frames(self) -> int:
        """How many frames it has.

        Raises:
            InputError: `endless`, of a camera; `zero-sized`, `truncated`, `corrupt`.
            LimitError: `too-many-frames`, `too-long`.
        """

    @property
    @abstractmethod
    def times(self) -> NDArray[np.float64]:
        """When each frame is shown, `(frames,)` seconds from the first, rising.

        Raises:
            InputError: `missing-rate`, of pictures without one; and as `frames`.
            LimitError: as `frames`.
        """

    @abstractmethod
    def read(self, indices: Iterable[int]) -> Iterator[VideoFrame]:
        """Gives frames, one at a time, in little memory. It ends what was being read before.

        Args:
            indices: their numbers, from 0, rising; what lies between is skipped, by jumping where that is faster.

        Raises:
            InputError: `truncated`, `corrupt`, `unreadable-file`, at the frame where it shows; of pictures, theirs.
            LimitError: as `frames`; `too-many-pixels`.
        """

    def close(self) -> None:  # noqa: B027 - a list has nothing to close
        """Closes what it holds open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def even_times(frames: int, rate: float | None, name: str) -> NDArray[np.float64]:
    """Times of frames that come at one rate.

    Raises:
        InputError: `missing-rate`.
    """
    if rate is None:
        raise without_times(name)
    return np.arange(frames) / rate
