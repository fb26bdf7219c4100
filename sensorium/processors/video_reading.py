"""Whatever a user calls a film → its frames, one after another: `open_video`.

A film is a path (`str` or `Path`), an http(s) URL, a `data:` URI, bytes, a binary file, a list of pictures, a 4-D array
or tensor, a folder of pictures, or the number of a camera. Files are MP4 (MOV), MKV (WebM), AVI, GIF, MPEG or TS. The
header is checked against `MediaLimits` before a frame is decoded, and every fault is an `InputError` or `LimitError`
with a code. It is safe in several threads, with a reader for each.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors import urls
from sensorium.processors.addresses import scheme_of
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits
from sensorium.processors.media import describe
from sensorium.processors.video_files import open_encoded
from sensorium.processors.video_frame import VideoFrame
from sensorium.processors.video_live import LiveVideo
from sensorium.processors.video_reader import VideoReader
from sensorium.processors.video_stills import StillsVideo, images_in

_FORMS = "a list of pictures, a 4-D array or tensor, a folder of pictures or a camera's number"


def open_video(source: Any, *, limits: MediaLimits = DEFAULT_LIMITS, rate: float | None = None) -> VideoReader:
    """Open a film to read its frames, in little memory.

    Args:
        source: a path, an http(s) URL, a `data:` URI, bytes (or bytearray, memoryview), a binary file object (read from
            its start where it can seek); a list or tuple of pictures, each anything that `load_image` takes; a 4-D
            array or tensor of frames, `(T, H, W, C)` or `(T, C, H, W)`; a folder of pictures, which are its frames by
            their names; or the number of a camera, from 0.
        limits: what the film may cost, and where it may come from.
        rate: frames a second of pictures, which do not say.

    Raises:
        InputError: not a film, or a damaged one; `code` says what is wrong.
        LimitError: a film, or an address, beyond the limits.
    """
    name = describe(source)
    if rate is not None and not (isinstance(rate, (int, float)) and 0 < rate < float("inf")):
        raise InputError(f"{name}: expected a rate above 0 frames a second, got {rate!r}.", code="bad-rate")
    if isinstance(source, (list, tuple)):
        name = f"list of {len(source):,} pictures"
        return StillsVideo(source, name=name, source=_film_of(source), rate=rate, limits=limits)
    if isinstance(source, (np.ndarray, Tensor)):
        if source.ndim != 4:
            raise InputError(
                f"{name}: expected frames of shape (T, H, W, C) or (T, C, H, W), got {tuple(source.shape)}.",
                code="bad-shape",
                source=name,
            )
        return StillsVideo(source, name=name, source=None, rate=rate, limits=limits)  # type: ignore[arg-type]
    if isinstance(source, (str, os.PathLike)) and _is_folder(source):
        images = images_in(source, name)
        return StillsVideo(images, name=name, source=os.fsdecode(source), rate=rate, limits=limits)
    if rate is not None:
        raise InputError(f"{name}: rate= is of pictures; this says itself when its frames are shown.", code="bad-rate")
    if isinstance(source, int) and not isinstance(source, bool) and 0 <= source < 100:
        return LiveVideo(source, limits=limits)
    return open_encoded(source, limits=limits, origin=_origin(source), forms=_FORMS)


def is_video_batch(inputs: Any) -> bool:
    """Whether inputs are several films: a list or a tuple, unless it is one film's frames; or a 5-D array or tensor."""
    if isinstance(inputs, (np.ndarray, Tensor)):
        return inputs.ndim == 5
    return isinstance(inputs, (list, tuple)) and not _are_frames(inputs)


def _are_frames(inputs: Any) -> bool:
    """Whether these are pictures in memory. Paths are not looked at: each is a film of its own."""
    return len(inputs) > 0 and all(_is_frame(one) for one in inputs)


def _is_frame(one: Any) -> bool:
    if isinstance(one, (np.ndarray, Tensor)):
        return one.ndim in (2, 3)
    return isinstance(one, (Image.Image, VideoFrame))


def _film_of(frames: Any) -> str | None:
    """The one film that all frames are of."""
    known = {getattr(frame, "source", None) if isinstance(frame, VideoFrame) else None for frame in frames}
    return known.pop() if len(known) == 1 else None


def _is_folder(source: str | os.PathLike[str]) -> bool:
    try:
        return os.path.isdir(source)  # noqa: PTH112 - False, not an error, for a name that no file can have
    except ValueError:
        return False


def _origin(source: Any) -> str | None:
    if isinstance(source, os.PathLike):
        return os.fsdecode(source)
    if not isinstance(source, str) or source[:5].lower() == "data:":
        return None
    return urls.public_url(source) if scheme_of(source) else source
