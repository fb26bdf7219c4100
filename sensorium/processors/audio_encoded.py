"""Encoded sounds as readers: files of one stream, and files that were put together from several."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.audio_faults import silent
from sensorium.processors.audio_files import AudioDecoder
from sensorium.processors.audio_headers import sections, sniff
from sensorium.processors.audio_reader import AudioReader, checked_rate
from sensorium.processors.audio_sections import Section
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import open_source


def open_encoded(source: Any, *, limits: MediaLimits, forms: str) -> AudioReader:
    """Open an encoded sound; closing the reader closes what was opened for it.

    Args:
        source: as for `media.open_source`.
        limits: what it may cost.
        forms: what else the caller takes, for a message.
    """
    with ExitStack() as stack:
        stream, name = stack.enter_context(open_source(source, limits=limits, kind="sound", forms=forms))
        kind, start = sniff(stream, name=name, limits=limits)
        found = sections(stream, kind, start, name=name)
        reader: AudioReader
        if len(found) == 1:
            reader = _StreamAudio(found[0], kind, name=name, limits=limits)
        else:
            reader = _ChainedAudio(found, kind, name=name, limits=limits)
        stack.callback(reader.close)
        return _OpenedAudio(reader, stack.pop_all())


class _OpenedAudio(AudioReader):
    """A reader with what has to be closed with it. It keeps the last piece that was read, as windows overlap."""

    def __init__(self, reader: AudioReader, opened: ExitStack) -> None:
        self._reader, self._opened = reader, opened
        self.name, self.rate, self.channels = reader.name, reader.rate, reader.channels
        self._kept, self._kept_from = torch.zeros(0), 0

    @property
    def frames(self) -> int | None:
        return self._reader.frames

    def read(self, start: int, count: int) -> Tensor:
        reused = self._kept[start - self._kept_from :][:count] if start >= self._kept_from else self._kept[:0]
        if len(reused) == count:
            return reused
        piece = self._reader.read(start + len(reused), count - len(reused))
        if len(reused):
            piece = torch.cat([reused, piece])
        self._kept, self._kept_from = piece, start
        return piece

    def close(self) -> None:
        self._opened.close()


class _StreamAudio(AudioReader):
    """One stream of samples."""

    def __init__(self, section: Section, kind: str, *, name: str, limits: MediaLimits) -> None:
        self._decoder = AudioDecoder(section, kind, name=name, limits=limits)
        self.name, self.channels = name, self._decoder.channels
        self.rate = checked_rate(self._decoder.rate, name)

    @property
    def frames(self) -> int | None:
        return self._decoder.frames

    def read(self, start: int, count: int) -> Tensor:
        self._decoder.seek(start)
        return self._decoder.read(count)

    def close(self) -> None:
        self._decoder.close()


class _ChainedAudio(AudioReader):
    """Streams one after another, as `cat` and radio stations make them; those at other rates at the first one's.

    One is open at a time.
    """

    def __init__(self, links: list[Section], kind: str, *, name: str, limits: MediaLimits) -> None:
        self._links, self._kind, self._limits, self.name = links, kind, limits, name
        self._lengths: list[int | None] = []
        self._current: tuple[int, AudioReader] | None = None
        self.rate = self.channels = 0
        for number in range(len(links)):
            self._lengths.append(self._measured(number))
            self._check_length()
        if not self.rate:
            raise silent(name)

    @property
    def frames(self) -> int | None:
        known = [length for length in self._lengths if length is not None]
        return sum(known) if len(known) == len(self._lengths) else None

    def read(self, start: int, count: int) -> Tensor:
        pieces: list[Tensor] = []
        begin, end = 0, start + count  # of the link; of what is asked for
        for number in range(len(self._links)):
            length = self._lengths[number]
            if length is None or start < begin + length:
                reader = self._at(number)
                piece = reader.read(max(0, start - begin), end - max(start, begin))
                pieces.append(piece)
                self._lengths[number] = length = reader.frames
                self._check_length()
            if length is None or end <= begin + length:
                break
            begin += length
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces) if pieces else torch.zeros(0)

    def close(self) -> None:
        if self._current is not None:
            self._current[1].close()
        self._current = None

    def _measured(self, number: int) -> int | None:
        """How long a link is; 0 for one without a sample, of which a chain may have some."""
        try:
            reader = self._at(number)
        except InputError as error:
            if error.code != "zero-sized":
                raise
            return 0
        return reader.frames

    def _at(self, number: int) -> AudioReader:
        if self._current is None or self._current[0] != number:
            self.close()
            reader = _StreamAudio(self._links[number], self._kind, name=self.name, limits=self._limits)
            if not self.rate:
                self.rate, self.channels = reader.rate, reader.channels
            self._current = number, reader.at(self.rate)
        return self._current[1]

    def _check_length(self) -> None:
        known = sum(length or 0 for length in self._lengths)
        self._limits.check_sound(known, max(1, self.rate), self.channels, name=self.name)
