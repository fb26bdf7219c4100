"""MP3: the streams of a file, each with a header that tells the decoder how long it is.

An encoder counts its frames in a header of its own (Xing, Info, VBRI), and a decoder believes it: what follows, as of a
file that was put together from several, would be lost. Without such a header the length is guessed from the bit rate.
So frames are counted here, and each stream gets a header that is right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import IO

from sensorium.errors import InputError
from sensorium.processors.audio_faults import check_sections, corrupt, cut_off, silent
from sensorium.processors.audio_mp3_frames import MpegFrame, MpegLayout, frames
from sensorium.processors.audio_sections import Section

_SLACK = 4  # frames that encoders' counts may differ by from what is there
_FRAMES, _BYTES = 1, 2  # flags of a Xing header: which of its numbers are there


@dataclass
class _Stream:
    """Frames of one layout, and the encoder's header before them."""

    layout: MpegLayout
    first: MpegFrame
    header: MpegFrame | None = None
    claimed: int | None = None  # frames, by the header
    claimed_bytes: int | None = None  # with the header's own
    count: int = 0
    spans: list[range] = field(default_factory=list)

    def add(self, position: int, length: int) -> None:
        self.count += 1
        if self.spans and self.spans[-1].stop == position:
            self.spans[-1] = range(self.spans[-1].start, position + length)
        else:
            self.spans.append(range(position, position + length))


def mp3_sections(stream: IO[bytes], start: int, end: int, name: str) -> list[Section]:
    """The streams of a file, one after another; nearly always one.

    Args:
        stream: of the file.
        start: where to begin to look for frames.
        end: its length.
        name: of the sound, for an error.

    Returns:
        Nothing, where no frame is found: they may be of free size.

    Raises:
        InputError: `truncated`, fewer frames than the encoder counted; `zero-sized`, none but its header; `corrupt`,
            hardly any frames among much else.
    """
    try:
        streams = _streams(stream, start, end, name)
    except InputError:
        raise
    except ValueError as error:
        raise corrupt(name, error) from error
    for one in streams:
        if one.claimed is not None and one.count + _SLACK < one.claimed:
            raise cut_off(name)
    whole = [one for one in streams if one.count]
    if streams and not whole:
        raise silent(name)
    return [Section(stream, [_right_header(stream, one), *one.spans]) for one in whole]


def _streams(stream: IO[bytes], start: int, end: int, name: str) -> list[_Stream]:
    streams: list[_Stream] = []
    for frame in frames(stream, start, end):
        offset = _header_at(frame)
        current = streams[-1] if streams else None
        if offset or current is None or current.layout != frame.layout or _is_full(current, frame, end):
            streams.append(_Stream(frame.layout, frame))
            check_sections(len(streams), name)
        if offset:
            streams[-1].header = frame
            streams[-1].claimed, streams[-1].claimed_bytes = _claimed(stream, frame, offset)
        else:
            streams[-1].add(frame.position, frame.length)
    return streams


def _is_full(current: _Stream, frame: MpegFrame, end: int) -> bool:
    """Whether a frame is beyond all that the encoder counted, and not one of a few, nor what belongs to it after all.

    Where bytes were counted, too, and are not up, the count of frames is wrong. To part such a stream would cost sound,
    as frames need bytes of those before.
    """
    if current.claimed is None or current.count < current.claimed:
        return False
    if current.header is not None and current.claimed_bytes is not None:
        found = current.header.length + sum(map(len, current.spans))
        if abs(found - current.claimed_bytes) > _SLACK * frame.length:
            return False
    return end - frame.position > _SLACK * 2 * frame.length


def _header_at(frame: MpegFrame) -> int:
    """Where, in a frame, its encoder's header begins; 0 if it has none."""
    if frame.layout.layer != 3:
        return 0
    if frame.head[36:40] == b"VBRI":
        return 36
    side = _side_bytes(frame.layout)
    return 4 + side if frame.head[4 + side : 8 + side] in (b"Xing", b"Info") else 0


def _side_bytes(layout: MpegLayout) -> int:
    if layout.version == 3:
        return 17 if layout.mono else 32
    return 9 if layout.mono else 17


def _claimed(stream: IO[bytes], frame: MpegFrame, offset: int) -> tuple[int | None, int | None]:
    """How many frames and bytes an encoder counted; None for what it does not tell."""
    stream.seek(frame.position + offset)
    data = stream.read(18).ljust(18, b"\0")
    if data[:4] == b"VBRI":
        return int.from_bytes(data[14:18], "big") or None, int.from_bytes(data[10:14], "big") or None
    frames = int.from_bytes(data[8:12], "big") if data[7] & _FRAMES else 0
    at = 12 if data[7] & _FRAMES else 8
    length = int.from_bytes(data[at : at + 4], "big") if data[7] & _BYTES else 0
    return frames or None, length or None


def _right_header(stream: IO[bytes], one: _Stream) -> bytes:
    """The encoder's header with the number of frames and bytes that there are, or one with only that."""
    length = sum(len(span) for span in one.spans)
    if one.layout.layer != 3:
        return b""  # decoders know none there
    if one.header is not None:
        stream.seek(one.header.position)
        head = bytearray(stream.read(one.header.length))
        offset = _header_at(one.header)
        # what an encoder counts too much is what it will put before and after the sound
        count = max(one.count, one.claimed or 0)
        if head[offset : offset + 4] == b"VBRI":
            head[offset + 10 : offset + 18] = struct.pack(">II", length + len(head), count)
            return bytes(head)
        flags = head[offset + 7]
        if flags & _FRAMES:
            head[offset + 8 : offset + 12] = struct.pack(">I", count)
            if flags & _BYTES:
                head[offset + 12 : offset + 16] = struct.pack(">I", length + len(head))
            return bytes(head)
    return _made_header(one, length)


def _made_header(one: _Stream, length: int) -> bytes:
    mpeg1 = one.layout.version == 3
    first, second, third = one.first.head[1] | 1, one.first.head[2] & 0x0C, one.first.head[3]  # without a checksum
    index = 5 if mpeg1 else 8  # 64 kbit/s: room for the header at any rate
    size = (144 if mpeg1 else 72) * 64_000 // one.layout.rate
    head = bytes([0xFF, first, second | index << 4, third]) + bytes(_side_bytes(one.layout))
    head += b"Info" + struct.pack(">III", _FRAMES | _BYTES, one.count, length + size)
    return head.ljust(size, b"\0")
