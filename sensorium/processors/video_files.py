"""Encoded films → frames, through PyAV, which brings FFmpeg."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import open_source
from sensorium.processors.video_containers import DEMUXERS, check_whole, sniff
from sensorium.processors.video_faults import corrupt, cut_off, faults_mapped, no_frames, pyav
from sensorium.processors.video_frame import VideoFrame
from sensorium.processors.video_index import FrameIndex, read_index
from sensorium.processors.video_reader import VideoReader
from sensorium.processors.video_turning import turn_of, turned

_BUFFER = 2**18  # bytes that are read of a file at once
_THREADS = min(4, os.cpu_count() or 1)  # of one decoder; several films are decoded side by side
_NEVER = -(2**63)  # before every stamp
_EARLIER_KEYS = 3  # that are tried where a jump ends behind what is looked for


def open_encoded(source: Any, *, limits: MediaLimits, origin: str | None, forms: str) -> VideoReader:
    """Open an encoded film; closing the reader closes what was opened for it.

    Args:
        source: as for `media.open_source`.
        limits: what it may cost.
        origin: its path or URL, for its frames.
        forms: what else the caller takes, for a message.
    """
    with ExitStack() as stack:
        stream, name = stack.enter_context(open_source(source, limits=limits, kind="film", forms=forms))
        kind = sniff(stream, name=name, limits=limits)
        check_whole(stream, kind, name=name)
        reader = _FileVideo(stream, kind, name=name, source=origin, limits=limits)
        stack.callback(reader.release)
        reader.opened = stack.pop_all()
        return reader


class _FileVideo(VideoReader):
    """One stream of pictures out of a file. It is read from start to end once before the first frame is decoded."""

    def __init__(self, file: IO[bytes], kind: str, *, name: str, source: str | None, limits: MediaLimits) -> None:
        """Reads the header, and decodes no frame.

        Raises:
            InputError: `missing-library`, `not-a-film` (nothing but sound), `zero-sized`, `corrupt`.
            LimitError: `too-many-pixels`, `too-many-frames`, `too-long`.
        """
        self._file, self._kind, self._limits = file, kind, limits
        self.name, self.source = name, source
        self.opened = ExitStack()
        self._stream: Any = None
        self._decoded: Iterator[Any] = iter(())
        self._last: int | None = None  # the stamp of the frame that was decoded last, or its number where they count
        self._wanted: frozenset[int] | None = None  # stamps of what is read; None for all, or where they do not tell
        self._sent: int = _NEVER  # the highest stamp that the decoder was given since the last jump
        self._left_out: int = _NEVER  # up to which frames may have been left out that are wanted now
        with faults_mapped(name):
            self._reformatter = pyav(name).video.reformatter.VideoReformatter()
        self._open()

    def _open(self) -> None:
        """From the file's start."""
        av = pyav(self.name)
        self._file.seek(0)
        with faults_mapped(self.name):
            self._container = av.open(
                self._file,
                format=DEMUXERS[self._kind],
                container_options={"protocol_whitelist": "none", "format_whitelist": _family(self._kind)},
                metadata_errors="replace",
                buffer_size=_BUFFER,
            )
            stream = next((one for one in self._container.streams.video if not _is_cover(one, av)), None)
        if stream is None:
            others = len(self._container.streams)
            self._container.close()
            raise _without_images(self.name) if others else no_frames(self.name)
        self._stream, context = stream, stream.codec_context
        if context is None:
            self._container.close()
            raise _unknown_codec(self.name)
        context.options = {"max_pixels": str(self._limits.max_pixels)}
        context.thread_type, context.thread_count = "AUTO", _THREADS
        if context.width or context.height:
            self._limits.check_size(context.width, context.height, name=self.name)
        self._limits.check_video(self._stream.frames, self._claimed_seconds(), name=self.name)

    @cached_property
    def _index(self) -> FrameIndex:
        index = read_index(self._container, self._stream, name=self.name, limits=self._limits)
        if not len(index.stamps):
            raise no_frames(self.name)
        if not index.seekable:
            index = self._counted()
        self._restart()
        return index

    def _counted(self) -> FrameIndex:
        """The index of a film whose packets do not tell it: all of it is decoded."""
        self._restart()
        stamps = [frame.pts for frame in self._decoded_frames()]
        told = all(stamp is not None for stamp in stamps) and all(a < b for a, b in itertools.pairwise(stamps))
        if not stamps:
            raise no_frames(self.name)
        if not told:
            rate, base = self._stream.guessed_rate or 25, self._stream.time_base
            stamps = [round(number / rate / base) for number in range(len(stamps))]
        return FrameIndex(np.array(stamps, np.int64), np.empty(0, np.int64), seekable=False)

    @property
    def frames(self) -> int:
        return len(self._index.stamps)

    @property
    def times(self) -> NDArray[np.float64]:
        stamps, base = self._index.stamps, self._stream.time_base
        seconds: NDArray[np.float64] = (stamps - stamps[0]) * base.numerator / base.denominator
        return seconds

    def read(self, indices: Iterable[int]) -> Iterator[VideoFrame]:
        times, stamps, chosen = self.times, self._index.stamps, list(indices)
        self._left_out = _NEVER if self._wanted is None else self._sent
        few = self._index.seekable and len(chosen) < len(stamps)
        self._wanted = frozenset(stamps[chosen].tolist()) if few else None
        for index in chosen:
            frame = self._found(index, int(stamps[index]))
            yield VideoFrame(self._pixels(frame, index), index, float(times[index]), self.source)

    def close(self) -> None:
        self.opened.close()

    def release(self) -> None:
        """Ends decoding; the stream is the caller's."""
        self._container.close()

    def _found(self, index: int, stamp: int) -> Any:
        """Decodes up to a frame, from the nearest place before it."""
        if not self._index.seekable:
            return self._found_by_count(index)
        key = self._index.key_before(stamp)
        first = int(self._index.keys[key]) if key >= 0 else None
        ahead = self._last is not None and self._last < stamp and (first is None or first <= self._last)
        frame = self._forward(stamp) if ahead and stamp > self._left_out else self._jumped(key, stamp)
        if frame is None:
            raise cut_off(self.name) if index == len(self._index.stamps) - 1 else self._missing(index)
        return frame

    def _jumped(self, key: int, stamp: int) -> Any:
        for earlier in range(key, max(0, key - _EARLIER_KEYS), -1):
            begin = int(self._index.keys[earlier])
            with faults_mapped(self.name):
                self._container.seek(begin, stream=self._stream, backward=True)
            self._sent = self._left_out = _NEVER
            self._decoded = self._decoded_frames(begin)
            frame = self._forward(stamp)
            if frame is not None:
                return frame
        self._restart()
        return self._forward(stamp)

    def _forward(self, stamp: int) -> Any:
        """The frame with a stamp, decoded on from here; None if it does not come."""
        for frame in self._decoded:
            if frame.pts is None:
                continue
            self._last = frame.pts
            if frame.pts == stamp:
                return frame
            if frame.pts > stamp:
                return None
        return None

    def _found_by_count(self, index: int) -> Any:
        if self._last is None or self._last >= index:
            self._restart()
        for frame in self._decoded:
            self._last = 0 if self._last is None else self._last + 1
            if self._last == index:
                return frame
        raise cut_off(self.name)

    def _restart(self) -> None:
        self._container.close()
        self._open()
        self._last, self._sent, self._left_out = None, _NEVER, _NEVER
        self._decoded = self._decoded_frames()

    def _decoded_frames(self, begin: int | None = None) -> Iterator[Any]:
        """What comes from here on; from the key with a stamp, as jumps of some formats end before it or behind."""
        with faults_mapped(self.name):
            for packet in self._container.demux(self._stream):
                if begin is not None:
                    if packet.is_keyframe and packet.pts is not None and packet.pts > begin:
                        return
                    if not packet.is_keyframe or packet.pts != begin:
                        continue
                    begin = None
                if packet.pts is not None:
                    self._sent = max(self._sent, packet.pts)
                # of what is not wanted, frames that no other one refers to are not decoded at all
                left_out = self._wanted is not None and packet.pts not in self._wanted
                self._stream.codec_context.skip_frame = "NONREF" if left_out else "DEFAULT"
                yield from packet.decode()

    def _pixels(self, frame: Any, index: int) -> Tensor:
        self._limits.check_size(frame.width, frame.height, name=self.name)
        if frame.is_corrupt:
            raise self._missing(index)
        with faults_mapped(self.name):
            rows = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        return turned(torch.from_numpy(rows), turn_of(frame)).permute(2, 0, 1)

    def _missing(self, index: int) -> InputError:
        return corrupt(self.name, f"frame {index:,} is damaged")

    def _claimed_seconds(self) -> float:
        """How long the film is by its header, as far as that says."""
        own = self._stream.duration
        if own is not None and self._stream.time_base:
            return float(own * self._stream.time_base)
        whole = self._container.duration  # of all streams, in microseconds
        return 0.0 if whole is None else whole / 1e6


def _family(kind: str) -> str:
    return {"MP4": "mov,mp4,m4a,3gp,3g2,mj2", "MKV": "matroska,webm"}.get(kind, DEMUXERS[kind])


def _is_cover(stream: Any, av: Any) -> bool:
    """Whether this is the picture on a record's cover, and not a film."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _unknown_codec(name: str) -> InputError:
    message = f"{name}: expected a film, got one in a code that FFmpeg has no decoder for. Convert it to H.264 or VP9."
    return InputError(message, code="unsupported-format", source=name)


def _without_images(name: str) -> InputError:
    message = f"{name}: expected a film, got a file with sound, and no pictures. Give it to a task for sounds."
    return InputError(message, code="not-a-film", source=name)
