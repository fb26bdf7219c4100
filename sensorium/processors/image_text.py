"""Looks into pictures that are text, or whose header is, before Pillow does, which reads them in Python.

A header is read a byte at a time, comments and blanks among them; and a comment between the numbers of a PPM has a
megabyte copied, though it may be of two bytes.
"""

from __future__ import annotations

import re
from typing import IO

from sensorium.errors import LimitError
from sensorium.processors.limits import MediaLimits

MAX_HEADER_BYTES = 2**16
MAX_COMMENTS = 10_000
MAX_XPM_BYTES = 4 * 2**20  # a second and more a megabyte
_PIECE = 2**20
_COMMENT = rb"#[^\r\n]*[\r\n]"  # also within an entry, which goes on after it
_ENTRY = rb"(?:\s|%b)*[^\s#](?:[^\s#]|%b)*\s" % (_COMMENT, _COMMENT)


def check_ppm(stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    """Refuse a PPM, PGM or PBM whose header is long, or that has very many comments among numbers that are text.

    What is damaged is left to the decoder.

    Raises:
        LimitError: `too-much-work`.
    """
    head = stream.read(MAX_HEADER_BYTES)
    kind = head[:2]
    entries = 2 if kind in (b"P1", b"P4") else 3  # width, height, and mostly a highest value
    if len(head) == MAX_HEADER_BYTES and not re.match(rb"\S+\s(?:%b){%d}" % (_ENTRY, entries), head):
        raise _too_much(f"PPM with a header of at most {MAX_HEADER_BYTES:,} bytes", name)
    if kind not in (b"P1", b"P2", b"P3"):
        return
    comments = head.count(b"#")
    while comments <= MAX_COMMENTS and (piece := stream.read(_PIECE)):
        comments += piece.count(b"#")
    if comments > MAX_COMMENTS:
        raise _too_much(f"PPM with at most {MAX_COMMENTS:,} comments", name)


def check_xpm(stream: IO[bytes], *, name: str, limits: MediaLimits) -> None:
    """Refuse an XPM of more than `MAX_XPM_BYTES`: its lines and colours are read before its size is known.

    Raises:
        LimitError: `too-much-work`.
    """
    if stream.seek(0, 2) > MAX_XPM_BYTES:
        raise _too_much(f"XPM of at most {MAX_XPM_BYTES:,} bytes", name)


def _too_much(expected: str, name: str) -> LimitError:
    return LimitError(
        f"{name}: expected a {expected}, got more, which is decoded slowly. Convert it, to PNG for example.",
        code="too-much-work",
        source=name,
    )
