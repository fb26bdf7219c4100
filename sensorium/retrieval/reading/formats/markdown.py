"""Markdown → documents. The text is the file's own, marks included, so that offsets are the file's.

Only what `data:` URIs hold is blank.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from sensorium.retrieval.reading.formats.decoding import Coding, blank_data_uris, decode
from sensorium.retrieval.reading.passages import Document, Heading

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_FRONT_MATTER = re.compile(
    r"---[^\S\n]*\n(?=\s*(?:#|[\w\"'-]+\s*:))(?P<yaml>(?:[^\n]*\n)*?)(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)"
    r"|\+\+\+[^\S\n]*\n(?P<toml>(?:[^\n]*\n)*?)\+\+\+[^\S\n]*(?:\n|\Z)"
)
_TITLE = re.compile(
    r"^title[^\S\n]*[:=][^\S\n]*(?P<quote>[\"']?)(?P<title>[^\s|>&*{\[][^\n]*?)(?P=quote)[^\S\n]*$", re.M
)
_NEW_LINE = re.compile(r"\r\n?|\n")
_LONGEST_TITLE = 1000  # characters of a heading whose marks are looked for


def read_markdown(data: bytes, *, name: str, coding: Coding) -> Document:
    """A document with its headings; its title is the front matter's, or the first heading."""
    from markdown_it import MarkdownIt

    text = blank_data_uris(decode(data, coding, name=name))
    front = _FRONT_MATTER.match(text)
    start = front.end() if front else 0
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    starts = [start, *(match.end() for match in _NEW_LINE.finditer(text, start)), len(text)]
    headings = []
    tokens = parser.parse(text[start:])
    parser.core.ruler.enableOnly(["normalize", "block", "inline"])
    for token, inside in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            first, last = starts[token.map[0]], starts[token.map[1]]
            end = first + len(text[first:last].rstrip())
            headings.append(Heading(first, end, int(token.tag[1:]), _plain(inside.content, parser)))
    title = _TITLE.search(front["yaml"] or front["toml"] or "") if front else None
    named = title["title"].strip() if title else next((h.text for h in headings if h.text), "")
    return Document(text, named, name, headings=tuple(headings), start=start)


def _plain(content: str, parser: MarkdownIt) -> str:
    """A heading's words without emphasis, links and other marks."""
    if len(content) > _LONGEST_TITLE:
        return " ".join(content.split())
    (token,) = parser.parseInline(content)
    parts = ["\n" if child.type.endswith("break") else child.content for child in token.children or []]
    return " ".join("".join(parts).split())
