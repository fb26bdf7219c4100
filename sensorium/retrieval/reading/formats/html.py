"""HTML → documents: the words of a page as they are read, without what surrounds them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from bs4 import BeautifulSoup
from bs4.dammit import EncodingDetector
from bs4.element import NavigableString, PageElement, PreformattedString, Tag

from sensorium.retrieval.reading.formats.decoding import Coding, decode
from sensorium.retrieval.reading.formats.formulas import formula, lowered, raised
from sensorium.retrieval.reading.passages import Document, Heading

# fmt: off
_LEFT_OUT = frozenset([
    "audio", "button", "canvas", "datalist", "del", "embed", "footer", "head", "iframe", "nav", "noscript", "object",
    "rp", "rt", "s", "script", "select", "strike", "style", "svg", "template", "textarea", "title", "video",
])
_LEFT_OUT_ROLES = frozenset(["navigation", "banner", "contentinfo", "search", "menu", "menubar"])
_PARAGRAPHS = frozenset([
    "article", "aside", "blockquote", "details", "dl", "fieldset", "figure", "form", "h1", "h2", "h3", "h4", "h5",
    "h6", "header", "hr", "main", "menu", "ol", "p", "pre", "section", "table", "ul",
])
_LINES = frozenset([
    "address", "br", "caption", "center", "dd", "div", "dt", "figcaption", "hgroup", "legend", "li", "summary", "tr",
])
# fmt: on
_CELLS = frozenset(["td", "th"])
_SCRIPTS = frozenset(["sub", "sup"])
_BREAKS = ("", " ", "\n", "\n\n")
_SPACE, _NEW_LINE, _BLANK_LINE = 1, 2, 3
_QUOTES = {False: "“", True: "”"}  # by whether the quotation is left
_INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x2060, 0xFEFF])  # hyphens and breaks that only may be
_NOT_DISPLAYED = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\s*(?:!\s*important\s*)?(?:;|$)", re.I
)
_HEADING = re.compile(r"h[1-6]")


def read_html(data: bytes, *, name: str, coding: Coding) -> Document:
    """A document of a page's main part, with its headings; its title is the page's, or the first heading.

    The text is put together from the page's words: paragraphs stand a blank line apart, items of lists begin with "- ",
    cells of tables are set off by " | ". Its offsets are characters of that text, not of the file.
    """
    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    text = decode(data, coding, name=name, declared=declared)
    soup = BeautifulSoup(text, "html.parser")
    writer = _PageText()
    for root in (_main(soup), soup):
        if root is not None:
            writer = _PageText()
            _write(root, writer)
            if writer.length:
                break
    title = " ".join(soup.title.get_text(" ").split()) if soup.title else ""
    title = title or next((heading.text for heading in writer.headings), "")
    return Document("".join(writer.parts), title, name, headings=tuple(writer.headings))


@dataclass
class _PageText:
    """The text so far; a break is written only once something follows it."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    headings: list[Heading] = field(default_factory=list)
    pending: int = 0
    mark: str = ""
    apart: str = ""  # "digit" or "word": what would be taken for a part of what stands before it, and needs a space
    cell: int = -1  # how many parts stood before the last cell of a table: its first paragraph follows no blank line

    def ask(self, pending: int) -> None:
        """Asks for a space, a new line or a blank line before what comes next."""
        if self.mark:  # what stands between a mark and its words is no break
            return
        if len(self.parts) == self.cell:
            pending = min(pending, _NEW_LINE)
        self.pending = max(self.pending, pending)

    def write(self, text: str) -> None:
        before = (_BREAKS[self.pending] if self.length else "") + self.mark
        if not before and (
            (self.apart == "digit" and text[0].isdigit()) or (self.apart == "word" and text[0].isalnum())
        ):
            before = " "
        self.pending, self.mark, self.apart = 0, "", ""
        self.parts.append(before + text)
        self.length += len(before) + len(text)


def _main(soup: BeautifulSoup) -> Tag | None:
    """The only element marked as the page's main part."""
    for candidates in (soup.find_all("main"), soup.find_all(role="main"), soup.find_all("article")):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _write(root: Tag, writer: _PageText) -> None:
    """Walks the tree with a stack of its own: pages nest deeper than Python calls."""
    stack: list[tuple[PageElement, bool, Any]] = [(root, False, None)]
    pre = 0
    while stack:
        element, leaving, state = stack.pop()
        if isinstance(element, Tag):
            if leaving:
                _leave(element, writer, state)
                pre -= element.name == "pre"
            elif element.name == "math" and not _is_left_out(element):
                if written := formula(element):
                    writer.write(written)
            elif not _is_left_out(element):
                pre += element.name == "pre"
                stack.append((element, True, _enter(element, writer)))
                stack.extend((child, False, None) for child in reversed(element.contents))
        elif isinstance(element, NavigableString) and not isinstance(element, PreformattedString):
            _write_text(str(element), writer, verbatim=pre > 0)


def _write_text(text: str, writer: _PageText, *, verbatim: bool) -> None:
    text = text.translate(_INVISIBLE)
    if not text:
        return
    if verbatim:
        if text.strip() or (writer.parts and not writer.pending):
            writer.write(text)
        return
    words = text.split()
    if not words or text[0].isspace():
        writer.ask(_SPACE)
    if words:
        writer.write(" ".join(words))
        if text[-1].isspace():
            writer.ask(_SPACE)


def _enter(tag: Tag, writer: _PageText) -> int | None:
    """The break before an element; for a heading or a cell, how many parts stand before it."""
    writer.ask(_BLANK_LINE if tag.name in _PARAGRAPHS else _NEW_LINE if tag.name in _LINES else 0)
    if tag.name == "li":
        writer.mark = "- "
    if tag.name in _CELLS:
        writer.cell = len(writer.parts)
    if tag.name in _CELLS and writer.length and writer.pending < _NEW_LINE:  # not the row's first
        writer.mark, writer.pending = " | ", 0
    if tag.name == "q":
        writer.write(_QUOTES[False])
    if tag.name in _SCRIPTS:
        writer.apart = ""  # it is set off itself
    return len(writer.parts) if tag.name in (*_CELLS, *_SCRIPTS) or _HEADING.fullmatch(tag.name) else None


def _leave(tag: Tag, writer: _PageText, parts_before: int | None) -> None:
    writer.ask(_BLANK_LINE if tag.name in _PARAGRAPHS else _NEW_LINE if tag.name in _LINES else 0)
    if tag.name == "li" or tag.name in _CELLS:
        writer.mark = ""  # of an empty one
    if tag.name == "q":
        writer.parts.append(_QUOTES[True])
        writer.length += 1
    if parts_before is None or len(writer.parts) == parts_before:
        return
    if tag.name in _SCRIPTS:
        _set_off(tag, writer, parts_before)
        return
    if tag.name in _CELLS:
        writer.pending = min(writer.pending, _SPACE)  # paragraphs in a cell do not end its row
        return
    written = "".join(writer.parts[parts_before:])
    text = written.lstrip()
    if text and (not writer.headings or writer.headings[-1].end <= writer.length - len(text)):  # none within another
        start = writer.length - len(text)
        writer.headings.append(Heading(start, writer.length, int(tag.name[1]), " ".join(text.split())))


def _set_off(tag: Tag, writer: _PageText, parts_before: int) -> None:
    """Writes what was raised or lowered so that it is not taken for a part of what stands before it."""
    written = "".join(writer.parts[parts_before:])
    text = written.strip()
    apart = isinstance(tag.previous_sibling, NavigableString) and tag.previous_sibling[-1:].isspace()
    space = written[: len(written) - len(written.lstrip())] if apart or not parts_before else ""
    before = "" if space or not parts_before else writer.parts[parts_before - 1][-1:]
    if before and not before.isspace() and text:
        is_link = tag.find("a") is not None
        text = raised(text, before, is_link=is_link) if tag.name == "sup" else lowered(text, before)
        writer.apart = "word" if text[0] in "^_" else "digit"
    del writer.parts[parts_before:]
    writer.parts.append(space + text)
    writer.length += len(space + text) - len(written)


def _is_left_out(tag: Tag) -> bool:
    if tag.name in _LEFT_OUT or (tag.has_attr("hidden") and tag.get("hidden") != "until-found"):
        return True
    if _NOT_DISPLAYED.search(str(tag.get("style", ""))) or (tag.name == "dialog" and not tag.has_attr("open")):
        return True
    role = tag.get("role")
    if isinstance(role, str) and role.lower() in _LEFT_OUT_ROLES:
        return True
    classes = tag.get("class") or ()
    if "katex-html" in classes:  # a formula that stands there as MathML, too
        return True
    marks = "headerlink" in classes or (tag.get("aria-hidden") == "true" and str(tag.get("href", "")).startswith("#"))
    return tag.name == "a" and marks  # of headings, by Sphinx and others
