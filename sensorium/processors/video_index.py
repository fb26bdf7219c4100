"""Which frames a film has, and when each is shown: read off its packets, without decoding any."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.processors.limits import MediaLimits
from sensorium.processors.video_faults import faults_mapped

_SHOWN = 0x10  # the bit of a VP8 frame's first byte that tells whether it is shown


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a film in the order in which they are shown.

    Attributes:
        stamps: `(frames,)` int64, when each is shown, in the stream's own unit of time, rising.
        keys: `(k,)` int64, the stamps of those from which decoding can begin.
        seekable: whether stamps tell frames apart, so that one is found by its own; if not, they are counted.
    """

    stamps: NDArray[np.int64]
    keys: NDArray[np.int64]
    seekable: bool

    def key_before(self, stamp: int) -> int:
        """The number of the last key at a stamp or before it; -1 for none."""
        return int(np.searchsorted(self.keys, stamp, side="right")) - 1


def read_index(container: Any, stream: Any, *, name: str, limits: MediaLimits) -> FrameIndex:
    """Goes through a film's packets, which leaves it at its end.

    Args:
        container: of PyAV, at its start.
        stream: its stream of pictures.
        name: what to call the film in an error.
        limits: `max_video_frames` and `max_seconds` apply to what is found.

    Raises:
        InputError: `corrupt`, `unreadable-file`.
        LimitError: `too-many-frames`, `too-long`.
    """
    stamps, keys = array("q"), array("q")
    is_vp8, base, counted, begun = stream.codec_context.name == "vp8", stream.time_base, True, False
    with faults_mapped(name):
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard or (is_vp8 and not bytes(packet)[0] & _SHOWN):
                continue
            begun = begun or packet.is_keyframe  # what comes before the first key cannot be decoded
            if not begun:
                continue
            counted = counted and packet.pts is not None
            stamp = len(stamps) if packet.pts is None else packet.pts
            if packet.is_keyframe:
                keys.append(stamp)
            stamps.append(stamp)
            if len(stamps) % 1024 == 1:
                seconds = float((stamp - stamps[0]) * base) if packet.pts is not None and base else 0.0
                limits.check_video(len(stamps), seconds, name=name)
    shown = np.sort(np.frombuffer(stamps, np.int64)) if stamps else np.empty(0, np.int64)
    lasts = float((int(shown[-1]) - int(shown[0])) * base) if len(shown) and counted and base else 0.0
    limits.check_video(len(shown), lasts, name=name)  # a header need not tell
    starts = np.sort(np.frombuffer(keys, np.int64)) if keys else np.empty(0, np.int64)
    if counted and keys:
        shown = shown[shown >= keys[0]]  # frames that refer to one before the first key are not decoded either
    apart = bool((np.diff(shown) > 0).all())
    return FrameIndex(shown, starts, counted and apart)
