"""The pages of an Ogg, and how to make them tell something else."""

from __future__ import annotations

import functools
import struct


def pages(data: bytes) -> list[bytes]:
    """The pages of a file, one after another."""
    found, at = [], 0
    while at < len(data):
        count = data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        found.append(data[at:end])
        at = end
    return found


def granule(page: bytes) -> int:
    """How many samples there are up to the end of a page, as it tells."""
    return int(struct.unpack_from("<q", page, 6)[0])


def with_granule(page: bytes, value: int) -> bytes:
    """A page that tells of another number, with its right checksum."""
    page = page[:6] + struct.pack("<q", value) + page[14:22] + bytes(4) + page[26:]
    return page[:22] + struct.pack("<I", checksum(page)) + page[26:]


def checksum(page: bytes) -> int:
    """Of a page whose own is zero."""
    value, table = 0, _table()
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value


@functools.cache
def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    return table
