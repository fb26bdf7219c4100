"""A camera as a film without an end, through PyAV and the system's own interface to cameras."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.errors import InputError
from sensorium.processors.limits import MediaLimits
from sensorium.processors.video_faults import faults_mapped, no_frames, pyav
from sensorium.processors.video_frame import VideoFrame
from sensorium.processors.video_reader import VideoReader

_INTERFACES = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}


class LiveVideo(VideoReader):
    """A camera; its frames are numbered as they come, and it has no times before they do."""

    def __init__(self, number: int, *, limits: MediaLimits) -> None:
        """Opens it.

        Raises:
            InputError: `missing-library`; `missing-file`, no such camera, or one that cannot be used.
        """
        self.name, self._limits = f"camera {number}", limits
        av = pyav(self.name)
        interface, pattern = _INTERFACES.get(sys.platform, _INTERFACES["linux"])
        place = pattern.format(number)
        try:
            self._container = av.open(place, format=interface)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise InputError(
                f"{self.name}: expected a camera that can be opened, got {error} for {place} ({interface}). Check that "
                "it is there, that nobody else uses it, and that this process may.",
                code="missing-file",
                source=self.name,
            ) from error
        with faults_mapped(self.name):
            self._reformatter = av.video.reformatter.VideoReformatter()

    @property
    def frames(self) -> int:
        """None that could be told: `endless`."""
        raise self._endless()

    @property
    def times(self) -> NDArray[np.float64]:
        """None that could be told: `endless`."""
        raise self._endless()

    def live(self) -> Iterator[VideoFrame]:
        """Each frame as it comes."""
        began: float | None = None
        count = 0
        with faults_mapped(self.name):
            for frame in self._container.decode(video=0):
                began = (frame.time or 0.0) if began is None else began
                moment = max(0.0, (frame.time or 0.0) - began)
                yield VideoFrame(self._pixels(frame), count, moment, self.source)
                count += 1
        if not count:
            raise no_frames(self.name)

    def read(self, indices: Iterable[int]) -> Iterator[VideoFrame]:
        """Waits for the frames with these numbers."""
        coming = self.live()
        for index in indices:
            yield next(frame for frame in coming if frame.index == index)

    def close(self) -> None:
        """Lets go of the camera."""
        self._container.close()

    def _pixels(self, frame: Any) -> torch.Tensor:
        self._limits.check_size(frame.width, frame.height, name=self.name)
        rows = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        return torch.from_numpy(rows).permute(2, 0, 1)

    def _endless(self) -> InputError:
        return InputError(
            f"{self.name}: expected a film with an end, got a camera. Take its frames: frames({self.name[7:]}, fps=2).",
            code="endless",
            source=self.name,
        )
