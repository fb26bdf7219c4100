"""Encoded sound → samples, in pieces, through libsndfile; no ffmpeg is needed."""

from __future__ import annotations

import functools
import os
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.audio_headers import MP3_SLACK, counts_frames, is_cut_off, sniff
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from soundfile import SoundFile

_BLOCK = 2**18  # samples of all channels that are decoded at once
_TAGS = 2**13  # bytes that may follow the sound in an MP3
_ENDLESS = 2**62  # libsndfile's word for a length that the header does not tell is above it


class AudioDecoder:
    """Decodes one file, forwards, to mono.

    Attributes:
        rate: frames a second.
        channels: of the file.
        frames: how many there are, or None where the header does not say and the end has not been reached.
        position: the frame that is decoded next.
    """

    def __init__(self, stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
        """Reads the header, and no sample.

        Raises:
            InputError: `not-a-sound`, `truncated`, `corrupt`, `zero-sized`.
            LimitError: `format-not-allowed`, `too-long`, `too-many-channels`.
        """
        self._name, self._limits = name, limits
        self._kind = sniff(stream, name=name, limits=limits)
        if is_cut_off(stream, self._kind):
            raise _cut_off(name)
        self._known = counts_frames(stream, self._kind)
        self._stream = _Steady(stream)
        self._stream.seek(0)
        self._file = _open(self._stream, name)
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.frames = self._file.frames if self._known and self._file.frames < _ENDLESS else None
        self.position = 0
        limits.check_sound(self.frames or 0, self.rate, self.channels, name=name)
        if self.frames == 0:
            raise _silent(name)

    def seek(self, frame: int) -> None:
        """Goes to a frame. MP3 is decoded up to it, as jumping into the middle of one gives other samples."""
        if frame == self.position:
            return
        with _Mapped(self):
            if self._kind != "MP3":
                self._file.seek(frame if self.frames is None else min(frame, self.frames))
            elif frame < self.position:
                self._file.seek(0)
                self.position = 0
        if self._kind != "MP3":
            self.position = frame
        while self.position < frame and len(self.read(min(frame - self.position, _BLOCK))):
            pass

    def read(self, count: int) -> Tensor:
        """The next `count` frames, `(n,)` float32, the mean of the channels; fewer at the end.

        Raises:
            InputError: `truncated`, `corrupt`, `not-finite`, `unreadable-file`.
            LimitError: `too-long`, where the header did not say.
        """
        left = count if self.frames is None else min(count, self.frames - self.position)
        blocks: list[Tensor] = []
        while left > 0:
            block = self._block(min(left, max(1, _BLOCK // self.channels)))
            blocks.append(block)
            left -= len(block)
            if not len(block):
                self._ended()
                break
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks) if blocks else torch.zeros(0)

    def close(self) -> None:
        """Ends decoding; the stream is the caller's."""
        self._file.close()

    def _block(self, count: int) -> Tensor:
        with _Mapped(self):
            data = torch.from_numpy(self._file.read(count, dtype="float32", always_2d=True))
        self.position += len(data)
        if self.frames is None:
            self._limits.check_sound(self.position, self.rate, self.channels, name=self._name)
        mono = data[:, 0] if self.channels == 1 else data.mean(1)
        check_finite(mono, name=self._name)
        return mono

    def _ended(self) -> None:
        """The file gave no more: is that its end?"""
        slack = MP3_SLACK if self._kind == "MP3" else 0
        if self.frames is not None and self.position + slack < self.frames:
            raise _cut_off(self._name)
        if not self._known and self._stream.left() > _TAGS:
            raise InputError(
                f"{self._name}: expected an MP3 whose header tells its length, as its bit rate varies; only "
                f"{self.position / self.rate:.1f} s of it can be found. Convert it.",
                code="corrupt",
                source=self._name,
            )
        if self.position == 0:
            raise _silent(self._name)
        self.frames = self.position


def check_finite(samples: Tensor, *, name: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: `not-finite`.
    """
    if len(samples) and not torch.stack(torch.aminmax(samples)).isfinite().all():  # NaN comes through as NaN
        raise InputError(
            f"{name}: expected finite samples, got NaN or infinity. Replace them first.",
            code="not-finite",
            source=name,
        )


class _Steady:
    """A stream as libsndfile needs it: no exception may pass through its callbacks, where it would only be printed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._stream.seek(offset, whence)
        except (OSError, ValueError):  # before the start, which damaged MP3s lead to
            return self._stream.tell()

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            self.failure = error
            return b""

    def readinto(self, buffer: WriteableBuffer) -> int:
        data = self.read(memoryview(buffer).nbytes)
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def size(self) -> int:
        """Bytes in all."""
        position = self.tell()
        size = self.seek(0, os.SEEK_END)
        self.seek(position)
        return size

    def left(self) -> int:
        """Bytes after the position."""
        return self.size() - self.tell()


class _Mapped:
    """Turns what libsndfile raises into an InputError."""

    def __init__(self, decoder: AudioDecoder) -> None:
        self._decoder = decoder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import soundfile

        name, stream = self._decoder._name, self._decoder._stream
        if stream.failure is not None:
            raise InputError(
                f"{name}: expected a file that can be read to its end, got {stream.failure}.",
                code="unreadable-file",
                source=name,
            ) from stream.failure
        if isinstance(error, (soundfile.SoundFileError, RuntimeError)):
            near_end = stream.left() <= min(2**17, stream.size() // 20)  # a decoder looks at what follows a frame
            raise (_cut_off(name) if near_end else _corrupt(name, error)) from error


@functools.cache
def _sound_file() -> type[SoundFile]:
    """The SoundFile of soundfile, made to read on: it seeks after every read, which loses samples of an MP3."""
    import soundfile

    class Forwards(soundfile.SoundFile):  # type: ignore[misc, unused-ignore]
        def seekable(self) -> bool:
            return False

    return Forwards


def _open(stream: _Steady, name: str) -> SoundFile:
    import soundfile

    try:
        return _sound_file()(stream)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise (_cut_off(name) if stream.size() < 1024 else _corrupt(name, error)) from error  # not one frame


def _cut_off(name: str) -> InputError:
    message = f"{name}: expected a whole sound, but it ends too early. Fetch or write it again."
    return InputError(message, code="truncated", source=name)


def _corrupt(name: str, error: BaseException) -> InputError:
    reason = getattr(error, "error_string", str(error)).rstrip(".")
    message = f"{name}: expected a sound, but its data cannot be decoded ({reason}). Fetch it again, or convert it."
    return InputError(message, code="corrupt", source=name)


def _silent(name: str) -> InputError:
    message = f"{name}: expected at least one sample, got none. Check how it was recorded or cut."
    return InputError(message, code="zero-sized", source=name)
