"""Pictures as the frames of a film: a list, an array, a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.folders import SUFFIXES
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import load_image
from sensorium.processors.video_faults import no_frames
from sensorium.processors.video_frame import VideoFrame
from sensorium.processors.video_reader import VideoReader, even_times


class StillsVideo(VideoReader):
    """Pictures, one after another."""

    def __init__(
        self, images: Sequence[Any], *, name: str, source: str | None, rate: float | None, limits: MediaLimits
    ) -> None:
        """Opens none of them.

        Raises:
            InputError: `zero-sized`.
            LimitError: `too-many-frames`.
        """
        if not len(images):
            raise no_frames(name)
        limits.check_video(len(images), 0, name=name)
        self._images, self._rate, self._limits = images, rate, limits
        self.name, self.source = name, source

    @property
    def frames(self) -> int:
        """How many pictures there are."""
        return len(self._images)

    @property
    def times(self) -> NDArray[np.float64]:
        """By their rate; of a film's frames their own, from the first one's on."""
        return even_times(self.frames, self._rate, self.name) if self._told is None else self._told

    @cached_property
    def _told(self) -> NDArray[np.float64] | None:
        """What a film's frames say themselves; None where one says nothing, or a rate was given."""
        known = [getattr(image, "time_s", None) for image in self._images] if self._rate is None else [None]
        told = [moment for moment in known if moment is not None]
        return np.array(told) - told[0] if len(told) == len(known) and told == sorted(told) else None

    def read(self, indices: Iterable[int]) -> Iterator[VideoFrame]:
        """Opens one picture at a time."""
        times = None if self._rate is None and self._told is None else self.times
        for index in indices:
            moment = None if times is None else float(times[index])
            yield VideoFrame(self._image(index), index, moment, self.source)

    def _image(self, index: int) -> Tensor:
        try:
            return load_image(self._images[index], limits=self._limits)
        except InputError as error:
            raise type(error)(f"frame {index}: {error.message}", code=error.code, source=self.name) from error


def images_in(folder: str | os.PathLike[str], name: str) -> list[Path]:
    """The pictures of a folder, not of those in it, by their names; numbers in names count as numbers do.

    Raises:
        InputError: `is-a-directory`, one without a picture.
    """
    found = [path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES["image"] and path.is_file()]
    if not found:
        raise InputError(
            f"{name}: expected a film, or a folder of its frames, got a folder without a picture. Check the path, or "
            "pass the films in it.",
            code="is-a-directory",
            source=name,
        )
    return sorted(found, key=lambda path: _by_numbers(path.name))


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """A key by which `frame2.png` comes before `frame10.png`."""
    parts: list[str] = []
    for character in name:
        if parts and parts[-1][-1].isdecimal() == character.isdecimal():
            parts[-1] += character
        else:
            parts.append(character)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts] + [(-1, name)]
