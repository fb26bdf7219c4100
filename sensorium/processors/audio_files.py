"""Encoded sound → samples, in pieces, through libsndfile; no ffmpeg is needed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.audio_faults import corrupt, cut_off, silent
from sensorium.processors.audio_flac import true_length
from sensorium.processors.audio_headers import MP3_SLACK
from sensorium.processors.audio_ogg_length import packet_length
from sensorium.processors.audio_sections import Section
from sensorium.processors.limits import MediaLimits
from sensorium.processors.shortage import is_shortage, out_of_memory

if TYPE_CHECKING:
    from soundfile import SoundFile

_BLOCK = 2**18  # samples of all channels that are decoded at once
_LAST_PAGE = 2**20  # frames, more than an Ogg page has
_ENDLESS = 2**62  # libsndfile's word for a length that the header does not tell is above it


class AudioDecoder:
    """Decodes one stream of samples, forwards, to mono.

    Attributes:
        rate: frames a second.
        channels: of the file.
        frames: how many there are, or None where the header does not say and the end has not been reached.
        position: the frame that is decoded next.
    """

    def __init__(self, section: Section, kind: str, *, name: str, limits: MediaLimits) -> None:
        """Reads the header, and no sample.

        Raises:
            InputError: `truncated`, `corrupt`, `zero-sized`.
            LimitError: `too-long`, `too-many-channels`.
        """
        self._section, self._kind, self._name, self._limits = section, kind, name, limits
        self._file = _open(section, name)
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.frames = self._file.frames if self._file.frames < _ENDLESS else None
        self.position = 0
        self._jumps = kind != "MP3"  # as jumping into the middle of one gives other samples
        limits.check_sound(self.frames or 0, self.rate, self.channels, name=name)
        self._check_claim()
        if self.frames == 0:
            raise silent(name)
        if self._file.subtype == "OPUS":  # without a first seek libsndfile plays what an encoder put before the sound
            with _Mapped(self):
                self._file.seek(0)

    def _check_claim(self) -> None:
        """Holds what the header says of the length against what there is, where that can be told without decoding."""
        if self._kind not in ("FLAC", "OGG"):
            return
        before = self._section.tell()  # where libsndfile goes on
        found = self._true_length()
        self._section.seek(before)
        if found is None:
            return
        frames, least = found
        self._limits.check_sound(frames, self.rate, self.channels, name=self._name)
        # a FLAC that tells of none does not know; an Ogg's last page, which comes after all the others, does
        claimed = self.frames if self._kind == "FLAC" else self.frames or 0
        if claimed is not None and claimed < least and (claimed or self._kind == "OGG"):
            raise corrupt(self._name, f"its header tells of {claimed:,} samples, and it has {frames:,}")

    def _true_length(self) -> tuple[int, int] | None:
        """How many frames there are, and how many of them a header has to tell of at least."""
        if self._kind == "FLAC":
            found = true_length(self._section)
            return found and (found[0], found[0])
        packets = packet_length(self._section, most_seconds=self._limits.max_seconds)
        if packets is None:
            return None
        # the end of the last packets, on the last page, may be beyond the sound's
        least = max(packets.samples - 2 * packets.longest, packets.before_last)
        return packets.samples * self.rate // packets.rate, least * self.rate // packets.rate

    def seek(self, frame: int) -> None:
        """Goes to a frame. Where a format knows no jumps, it is decoded up to it."""
        if frame != self.position and self._jumps:
            self._jump(frame if self.frames is None else min(frame, self.frames))
        if frame < self.position:  # back to the start, and forwards from there
            self._file.close()
            self._file, self.position = _open(self._section, self._name), 0
        while self.position < frame and len(self.read(min(frame - self.position, _BLOCK))):
            pass

    def _jump(self, frame: int) -> None:
        import soundfile

        if self._file.subtype == "VORBIS" and self.frames is not None:
            # libvorbis counts in the last page from its end, of which some was cut off: a jump into it goes astray
            safe = max(0, self.frames - _LAST_PAGE)
            if safe <= self.position <= frame:
                return
            frame = min(frame, safe)
        try:
            self._file.seek(frame)
        except soundfile.SoundFileError:
            self._jumps = False  # GSM and other codecs whose state comes from all that was before
        else:
            self.position = frame

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
            raise cut_off(self._name)
        if self.position == 0:
            raise silent(self._name)
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


class _Mapped:
    """Turns what libsndfile raises into an InputError."""

    def __init__(self, decoder: AudioDecoder) -> None:
        self._decoder = decoder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import soundfile

        name, section = self._decoder._name, self._decoder._section
        if section.failure is not None:
            raise InputError(
                f"{name}: expected a file that can be read to its end, got {section.failure}.",
                code="unreadable-file",
                source=name,
            ) from section.failure
        if isinstance(error, (soundfile.SoundFileError, RuntimeError, MemoryError)):
            if is_shortage(error):
                raise out_of_memory(name, "a sound", error) from error
            near_end = section.left <= min(2**17, section.size // 20)  # a decoder looks at what follows a frame
            raise (cut_off(name) if near_end else corrupt(name, error)) from error


@functools.cache
def _sound_file() -> type[SoundFile]:
    """The SoundFile of soundfile, made to read on: it seeks after every read, which loses samples of an MP3."""
    import soundfile

    class Forwards(soundfile.SoundFile):  # type: ignore[misc, unused-ignore]
        def seekable(self) -> bool:
            return False

    return Forwards


def _open(section: Section, name: str) -> SoundFile:
    import soundfile

    section.seek(0)
    try:
        return _sound_file()(section)
    except (soundfile.SoundFileError, RuntimeError, TypeError, MemoryError) as error:
        if is_shortage(error):
            raise out_of_memory(name, "a sound", error) from error
        raise (cut_off(name) if section.size < 1024 else corrupt(name, error)) from error  # not one frame
