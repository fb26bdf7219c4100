"""Ogg: how long a stream is by its packets, each of which tells by its first bytes how many samples come of it.

The number in a stream's last page tells it, too, and decoders believe that: where it is too small, what lies behind
would be lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sensorium.processors.audio_sections import Section

OPUS_RATE = 48_000
"""Samples a second that Opus counts in, whatever it was made from."""

_OPUS_FRAMES = (*(480, 960, 1920, 2880) * 3, *(480, 960) * 2, *(120, 240, 480, 960) * 4)
_HEAD = 27
_KEPT = 2**17  # bytes of a packet at most: the tables of Vorbis have some thousands
_MAX_PACKETS = 6_000_000  # 4 h of the shortest ones of Opus
_MODE_BITS = 41
_MOST_MODES = 64


class PacketLength(NamedTuple):
    """What the packets of a stream come to.

    Attributes:
        samples: a channel.
        rate: of these, Hz.
        longest: samples of the longest packet.
        before_last: samples before the last page on which a packet ends.
    """

    samples: int
    rate: int
    longest: int
    before_last: int


def packet_length(section: Section, *, most_seconds: float) -> PacketLength | None:
    """How long a stream of Vorbis or Opus is by its packets.

    Args:
        section: of the stream; it is left anywhere.
        most_seconds: after which it is not looked at any further.

    Returns:
        None for other codecs, and for what is no such stream.
    """
    packets = _packets(section)
    whole = (packet for packet in packets if packet is not None)
    head = next(whole, b"")
    if head[:8] == b"OpusHead" and len(head) >= 19:
        next(whole, b"")  # its tags
        return _of_opus(packets, int.from_bytes(head[10:12], "little"), most_seconds)
    if head[:7] == b"\x01vorbis" and len(head) >= 29:
        next(whole, b"")
        return _of_vorbis(packets, head, next(whole, b""), most_seconds)
    return None


def _of_opus(packets: Iterator[bytes | None], skipped: int, most_seconds: float) -> PacketLength:
    total, most = -skipped, most_seconds * OPUS_RATE
    longest = before_last = page_begun = 0
    for packet in packets:
        if packet is None:
            page_begun = total
        elif packet:
            size = _opus_samples(packet)
            total, longest, before_last = total + size, max(longest, size), page_begun
            if total > most:
                break
    return PacketLength(max(0, total), OPUS_RATE, longest, max(0, before_last))


def _opus_samples(packet: bytes) -> int:
    """Of one packet, by its first byte, or two (RFC 6716, 3.1)."""
    frame, kind = _OPUS_FRAMES[packet[0] >> 3], packet[0] & 3
    if kind == 3:
        return frame * (packet[1] & 63) if len(packet) > 1 else 0
    return frame * (2 if kind else 1)


def _of_vorbis(packets: Iterator[bytes | None], head: bytes, setup: bytes, most_seconds: float) -> PacketLength | None:
    rate, sizes = int.from_bytes(head[12:16], "little"), (1 << (head[28] & 15), 1 << (head[28] >> 4))
    modes = _modes(setup)
    if not modes or not rate:
        return None
    mask, most = (1 << (len(modes) - 1).bit_length()) - 1, most_seconds * rate
    total = before = longest = before_last = page_begun = 0
    for packet in packets:
        if packet is None:
            page_begun = total
            continue
        mode = packet[0] >> 1 & mask if packet and not packet[0] & 1 else len(modes)
        if mode < len(modes):
            size = sizes[modes[mode]]
            total += (before + size) // 4 if before else 0
            before, longest, before_last = size, max(longest, size), page_begun
            if total > most:
                break
    return PacketLength(total, rate, longest, before_last)


def _modes(setup: bytes) -> list[int]:
    """Which of the two sizes each mode has, read from the end of the tables; nothing where they cannot be read.

    What stands before the modes would have to be decoded to be passed over. Each mode is a bit, 32 zeros and the number
    of a mapping; before them stands how many there are.
    """
    bits = int.from_bytes(setup, "little")
    end = bits.bit_length() - 1  # of the modes: the last bit that is set says that the packet is whole
    found: list[int] = []
    modes: list[int] = []
    for count in range(1, _MOST_MODES + 1):
        start = end - count * _MODE_BITS
        if start < 6:
            break
        mode = bits >> start & (1 << _MODE_BITS) - 1
        if mode >> 1 & 0xFFFFFFFF or mode >> 33 > 63:
            break
        modes.insert(0, mode & 1)
        if bits >> start - 6 & 63 == count - 1:
            found = list(modes)
    return found if setup[:7] == b"\x05vorbis" else []


def _packets(section: Section) -> Iterator[bytes | None]:
    """The packets of the first page's stream, and None where a page begins.

    Of those behind the third there is only the first piece, up to 255 bytes.
    """
    section.seek(0)
    serial: bytes | None = None
    begun: bytes | None = None  # of a packet that the page before has not ended
    count = 0
    while len(head := section.read(_HEAD)) == _HEAD and head[:4] == b"OggS":
        lacing = section.read(head[26])
        body = section.read(sum(lacing))
        serial = head[14:18] if serial is None else serial
        if head[14:18] != serial:
            continue
        yield None
        at = 0
        for length in lacing:
            if begun is None:
                begun = body[at : at + length]
            elif count < 3 and len(begun) < _KEPT:
                begun += body[at : at + length]
            at += length
            if length < 255:
                yield begun
                begun = None
                count += 1
                if count > _MAX_PACKETS:
                    return
