"""What a sound file's bytes tell before a decoder sees it: its format, whether it was cut off, and its streams."""

from __future__ import annotations

import os
from typing import IO

from sensorium.errors import InputError, LimitError
from sensorium.processors.audio_flac import flac_sections
from sensorium.processors.audio_mp3 import mp3_sections
from sensorium.processors.audio_mp3_frames import tag_length
from sensorium.processors.audio_ogg import ogg_sections
from sensorium.processors.audio_riff import check_au, mpeg_start, wav_section
from sensorium.processors.audio_sections import Section
from sensorium.processors.limits import MediaLimits

MP3_SLACK = 4608
"""Samples that encoders' counts and the decoder's may differ by: four frames."""

_MAX_ZEROS = 2**20  # bytes of nothing that may stand before a sound
_MAX_TAGS = 64
_MAGIC = {  # format: (offset, bytes) pairs that all have to be there
    "WAV": ((0, b"RIFF"), (8, b"WAVE")),
    "RF64": ((0, b"RF64"), (8, b"WAVE")),
    "W64": ((0, b"riff\x2e\x91\xcf\x11"),),
    "FLAC": ((0, b"fLaC"),),
    "OGG": ((0, b"OggS"),),
    "AU": ((0, b".snd"),),
    "CAF": ((0, b"caff"),),
}
_FOREIGN = {  # what is known, but not read
    "MP4 or M4A (AAC, ALAC)": ((4, b"ftyp"),),
    "WebM or Matroska": ((0, b"\x1a\x45\xdf\xa3"),),
    "WMA": ((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),),
    "AAC": ((0, b"\xff\xf1"),),
    "AAC ": ((0, b"\xff\xf9"),),
    "AMR": ((0, b"#!AMR"),),
    "MIDI": ((0, b"MThd"),),
    "WavPack": ((0, b"wvpk"),),
    "Monkey's Audio": ((0, b"MAC "),),
    "DSF": ((0, b"DSD "),),
}


def sniff(stream: IO[bytes], *, name: str, limits: MediaLimits) -> tuple[str, int]:
    """Tell a sound's format by its first bytes, and where it begins: behind tags and zeros.

    Raises:
        InputError: `not-a-sound`; `unsupported-format`, a sound or film that is known, but not read.
        LimitError: `format-not-allowed`, a format outside `MediaLimits.sound_formats`.
    """
    start, tagged = _start(stream)
    stream.seek(start)
    head = stream.read(16)
    kind = _kind(head) or ("MP3" if tagged else None)  # behind a tag, a decoder of MP3 looks for the first frame
    if kind is None:
        stream.seek(0)
        head = stream.read(16)
    if kind == "WAV" and (inside := mpeg_start(stream, start, stream.seek(0, os.SEEK_END))):
        kind, start = "MP3", inside
    allowed = ", ".join(limits.sound_formats)
    if kind is None:
        raise _unknown(head, allowed, name)
    if kind not in limits.sound_formats:
        raise LimitError(
            f"{name}: expected one of {allowed}, got what begins like {kind}. Convert it, or add {kind!r} to "
            f"MediaLimits.sound_formats if you trust it.",
            code="format-not-allowed",
            source=name,
        )
    return kind, start


def sections(stream: IO[bytes], kind: str, start: int, *, name: str) -> list[Section]:
    """What a decoder is to read, one after another: a file's sound may have been put together from several.

    Args:
        stream: of the file.
        kind: its format.
        start: where it begins.
        name: what to call it in an error.

    Raises:
        InputError: `truncated`, where that can be told without decoding; `zero-sized`; `corrupt`, too many parts.
    """
    end = stream.seek(0, os.SEEK_END)
    if kind == "OGG":
        found = ogg_sections(stream, start, end, name)
    elif kind == "FLAC":
        found = flac_sections(stream, start, end, name)
    elif kind == "MP3":
        found = mp3_sections(stream, start, end, name)
    elif kind in ("WAV", "RF64", "W64", "AIFF", "CAF"):
        found = [wav_section(stream, kind, start, end, name)]
    else:
        found = []
    if kind == "AU":
        check_au(stream, start, end, name)
    return found or [Section(stream, [range(start, end)])]


def _start(stream: IO[bytes]) -> tuple[int, bool]:
    """Behind the tags and zeros that stand before a sound, and whether there were tags."""
    position, tagged = 0, False
    for _ in range(_MAX_TAGS):
        stream.seek(position)
        head = stream.read(16)
        if head[:1] == b"\0":
            stream.seek(position)
            block = stream.read(_MAX_ZEROS)
            position += len(block) - len(block.lstrip(b"\0"))
        elif head[:3] != b"TAG" and (length := tag_length(head)):
            position, tagged = position + length, True
        else:
            break
    return position, tagged


def _unknown(head: bytes, allowed: str, name: str) -> InputError:
    foreign = next((known for known, marks in _FOREIGN.items() if _matches(head, marks)), None)
    expected = f"{name}: expected a sound ({allowed}), got"
    if foreign is not None:
        message = f"{expected} {foreign.strip()}, which is not read. Convert it, as with ffmpeg -i IN OUT.flac."
        return InputError(message, code="unsupported-format", source=name)
    message = f"{expected} something that starts with {head!r}. Check that the file is what its name says, or convert"
    return InputError(f"{message} it.", code="not-a-sound", source=name)


def _kind(head: bytes) -> str | None:
    for kind, marks in _MAGIC.items():
        if _matches(head, marks):
            return kind
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    # a frame's eleven set bits with a layer that is not the reserved one
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06:
        return "MP3"
    return "MP3" if head[:3] == b"ID3" else None


def _matches(head: bytes, marks: tuple[tuple[int, bytes], ...]) -> bool:
    return all(head[at : at + len(mark)] == mark for at, mark in marks)
