"""Plain text and reStructuredText → documents. The text is the file's own, so that offsets are the file's."""

from __future__ import annotations

import re

from sensorium.retrieval.reading.formats.decoding import Coding, blank_data_uris, decode
from sensorium.retrieval.reading.passages import Document, Heading

# A line, and under it a line of one mark; over it another of the same, if it is a title.
_RST_HEADING = re.compile(
    r"^(?:(?P<over>([=\-`:.'\"~^_*+#<>])\2{1,199})[^\S\n]*\n(?=[^\n]{1,200}\n\2))?"
    r"(?P<text>[^\s][^\n]{0,199}|[^\S\n]{1,40}[^\s][^\n]{0,159})\n(?P<under>([=\-`:.'\"~^_*+#<>])\5{1,199})[^\S\n]*$",
    re.MULTILINE,
)


def read_text(data: bytes, *, name: str, coding: Coding) -> Document:
    """A document without headings, and without a title."""
    return Document(decode(data, coding, name=name), source=name)


def read_rst(data: bytes, *, name: str, coding: Coding) -> Document:
    """A document with the headings that reStructuredText underlines; the first is its title."""
    text = blank_data_uris(decode(data, coding, name=name))
    marks: list[tuple[bool, str]] = []  # in the order in which they are first used, which is that of the levels
    headings = []
    for match in _RST_HEADING.finditer(text):
        words = match["text"].strip()
        if len(match["under"]) < len(words) or set(words) <= set(match["under"]):
            continue
        mark = (match["over"] is not None, match["under"][0])
        if mark not in marks:
            marks.append(mark)
        headings.append(Heading(match.start(), match.end(), marks.index(mark) + 1, words))
    return Document(text, headings[0].text if headings else "", name, headings=tuple(headings))
