"""Manual pages → documents: the words of roff's macro packages man and mdoc, without what sets them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sensorium.errors import InputError
from sensorium.retrieval.reading.formats.decoding import Coding, decode
from sensorium.retrieval.reading.formats.roff import MACROS, blanks_of, mdoc_words, plain, split_arguments
from sensorium.retrieval.reading.passages import Document, Heading

# fmt: off
_JOINED = frozenset(["BI", "BR", "IB", "IR", "RB", "RI"])
_SET = frozenset(["B", "I", "SM", "SB", "R"])
_BLANK_LINES = frozenset(["PP", "P", "LP", "HP", "Pp", "sp", "IP", "TP", "TQ", "Bl", "El", "Bd", "Ed", "RS", "RE", "SY",
                          "YS", "TS", "TE", "EX", "EE", "Rs", "Re", "D1", "Dl", "Sp", "Vb", "Ve"])
_VERBATIM, _FILLED = frozenset(["nf", "EX", "Bd", "TS", "Vb"]), frozenset(["fi", "EE", "Ed", "TE", "Ve"])
_SECTIONS = {"SH": 1, "Sh": 1, "SS": 2, "Ss": 2}
# fmt: on
_REQUEST = re.compile(r"[.'][^\S\n]*([A-Za-z0-9%]{1,3}|\\[\"#])?[^\S\n]*(.*)")
_START = re.compile(rb"(?:\A|\n)(?:[.']\s*(?:TH|Dd|Dt|SH|Sh|so)\b|[.']\\\")")
SNIFFED = 4096
"""Bytes among which a manual page says that it is one."""


def is_man_page(start: bytes) -> bool:
    """Whether a file that begins so is written for roff."""
    return _START.search(start[:SNIFFED]) is not None


def read_man(data: bytes, *, name: str, coding: Coding) -> Document:
    """A document with the sections as headings; its title is the page's name, such as `ls(1)`.

    Raises:
        InputError: `not-a-document`: it is not written for roff. `bad-encoding`.
    """
    text = decode(data, coding, name=name)
    if not is_man_page(data):
        raise InputError(
            f"{name}: expected a manual page, which roff's macros such as .TH or .Dd begin, got another file. Give it "
            f"the suffix of its real format.",
            code="not-a-document",
            source=name,
        )
    page = _ManualPage()
    for line in _lines(text):
        page.take(line)
    page.end_line()
    return Document("".join(page.parts), page.title, name, headings=tuple(page.headings))


def _lines(text: str) -> Iterator[str]:
    """Lines without comments, definitions of macros, and what is only for typesetters; long ones put together."""
    ends, depth = "", 0
    for line in re.sub(r"\\\n", "", text.replace("\r\n", "\n")).split("\n"):
        if ends:
            ends = "" if re.match(rf"\.\s*{re.escape(ends)}\s*$", line) else ends
            continue
        request = re.match(r"[.']\s*(de|am|ig|de1|am1)\b\s*\S*\s*(\S*)", line)
        if request:
            named = line.split()[1:2] if request[1] == "ig" else [request[2]]
            ends = next(filter(None, named), "") or "."
            continue
        if depth:
            depth += line.count("\\{") - line.count("\\}")
            continue
        condition = re.match(r"[.']\s*(?:if|ie|el)\b\s*(.*)", line)
        if condition:
            if "\\{" in line:
                depth = line.count("\\{") - line.count("\\}")
            elif condition[1].startswith("n "):  # what terminals show
                yield condition[1][2:].lstrip()
            continue
        yield re.sub(r'(?<!\\)\\["#].*', "", line)


@dataclass
class _ManualPage:
    """The text so far."""

    parts: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    title: str = ""
    length: int = 0
    line: list[str] = field(default_factory=list)  # words of the line that is being filled
    pending: str = ""
    verbatim: bool = False
    heading: int = 0  # of which level the next line is one
    tag: bool = False  # whether the next line is the tag of a paragraph
    name: str = ""
    strings: dict[str, str] = field(default_factory=dict)

    def take(self, line: str) -> None:
        match = _REQUEST.fullmatch(line)
        if match is None or not line.startswith((".", "'")):
            self._text(plain(line, self.strings))
        elif match[1] is not None and not match[1].startswith("\\"):
            self._request(match[1], match[2])

    def end_line(self) -> None:
        """Writes the line that is being filled."""
        words, self.line = blanks_of(self.line), []
        if words:
            self._write(words)
            self.pending = self.pending or "\n"

    def _write(self, text: str) -> None:
        before = self.pending if self.length else ""
        self.parts.append(before + text)
        self.length += len(before) + len(text)
        self.pending = ""

    def _break(self, blank: bool) -> None:
        self.end_line()
        self.pending = "\n\n" if blank or self.pending == "\n\n" else "\n"

    def _text(self, text: str) -> None:
        if self.heading:
            self._heading(text)
        elif not text.strip():
            self._break(blank=True)
        elif self.verbatim:
            self._break(blank=False)
            self.line = [text.replace("\t", " | ") if "\t" in text.strip() else text.rstrip()]
            self.end_line()
        else:
            self.line.append(text)
            if self.tag:
                self._break(blank=False)
                self.tag = False

    def _heading(self, text: str) -> None:
        level, self.heading = self.heading, 0
        words = " ".join(text.split())
        if words:
            self._write(words)
            self.headings.append(Heading(self.length - len(words), self.length, level, words))
            self.pending = "\n\n"

    def _request(self, name: str, rest: str) -> None:
        arguments = [plain(each, self.strings) for each in split_arguments(rest)]
        if name in _SECTIONS:
            self._break(blank=True)
            self.heading = _SECTIONS[name]
            if arguments:
                self._heading(" ".join(arguments))
        elif name in ("TH", "Dt"):
            self.title = f"{arguments[0].lower()}({arguments[1]})" if len(arguments) > 1 else "".join(arguments[:1])
        elif name == "ds":
            key, _, value = rest.partition(" ")
            self.strings[key] = plain(value.lstrip('"'), self.strings)
        elif name == "br":
            self._break(blank=False)
        elif name in _JOINED:
            self._text("".join(arguments))
        elif name in _SET:
            self._text(" ".join(arguments)) if arguments else None
        elif name in ("OP", "UR", "MT"):
            self._text(f"[{' '.join(arguments)}]" if name == "OP" else f"<{''.join(arguments)}>")
        elif name == "It":
            self._break(blank=True)
            self._text(mdoc_words(split_arguments(rest), self.strings, self.name)) if rest else None
            self._break(blank=False)
        elif name in _BLANK_LINES or name in _FILLED | _VERBATIM:
            self._blank(name, arguments)
        elif name in MACROS:
            if name == "Nm" and arguments:
                self.name = self.name or arguments[0]
            self._text(mdoc_words([name, *split_arguments(rest)], self.strings, self.name))
        elif name.startswith("%"):
            self._text(" ".join(arguments) + ",")

    def _blank(self, name: str, arguments: list[str]) -> None:
        self._break(blank=name not in ("RS", "RE", "TQ", "nf", "fi"))
        self.verbatim = (self.verbatim or name in _VERBATIM) and name not in _FILLED
        self.tag = name in ("TP", "TQ")
        if name in ("IP", "SY", "D1", "Dl") and arguments:
            words = mdoc_words(arguments, self.strings, self.name) if name in ("D1", "Dl") else arguments[0]
            self.line.append(words)
            if name == "IP" and not re.fullmatch(r"[-*•·o+]", words):
                self._break(blank=False)
