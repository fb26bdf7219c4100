"""PDF → documents: the text of all pages, and where each begins."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from sensorium.errors import InputError, LimitError
from sensorium.retrieval.reading.formats.decoding import replace_surrogates
from sensorium.retrieval.reading.formats.limits import DocumentLimits
from sensorium.retrieval.reading.formats.pages import HYPHEN, Line, join_hyphens, without_running_heads
from sensorium.retrieval.reading.passages import Document

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfTextPage

_HEADER = 1024  # bytes among which "%PDF-" has to stand
_LOCKED = 4  # what pdfium calls a file that asks for a password
_END_OF_LINE_HYPHENS = str.maketrans({"\ufffe": HYPHEN, "\xad": HYPHEN})
_CONTROL = dict.fromkeys([*range(2), *range(3, 9), *range(11, 13), *range(14, 32), 127])
_LINE = re.compile(rf"[^\r\n{HYPHEN}]*(?:\r\n|\r|\n|{HYPHEN}|\Z)")


def read_pdf(data: bytes, *, name: str, limits: DocumentLimits) -> Document:
    """A document whose pages follow each other a line apart; its title is the file's own, if it has one.

    Lines that run over the pages (heads, feet, page numbers) are left out, and words that are hyphenated at the end of
    a line, or of a page, are put together.

    Raises:
        InputError: `not-a-document`, `encrypted`, `no-text`. What pdfium raises on a damaged file comes through.
        LimitError: `too-many-pages`, `too-many-characters`.
    """
    import pypdfium2

    if b"%PDF-" not in data[:_HEADER]:
        raise InputError(
            f"{name}: expected a PDF file, got one that begins with {data[:8]!r}. Give it the suffix of its real "
            f"format.",
            code="not-a-document",
            source=name,
        )
    try:
        file = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) != _LOCKED:
            raise
        raise InputError(
            f"{name}: expected a PDF that opens without a password, got an encrypted one. Save a copy without a "
            f"password, and pass that.",
            code="encrypted",
            source=name,
        ) from error
    try:
        texts = _texts(file, name, limits)
        title = str(file.get_metadata_value("Title") or "")
    finally:
        file.close()
    starts = [0, *accumulate(len(text) for text in texts)][:-1]
    return Document("".join(texts), " ".join(replace_surrogates(title).split()), name, pages=tuple(starts))


def _texts(file: PdfDocument, name: str, limits: DocumentLimits) -> list[str]:
    """The text of each page as it is to be read; a page without any is blank, and ends no paragraph."""
    if len(file) > limits.max_pages:
        raise LimitError(
            f"{name}: expected at most {limits.max_pages:,} pages, got {len(file):,}. Cut the file, or raise "
            f"DocumentLimits.max_pages if you trust it.",
            code="too-many-pages",
            source=name,
        )
    pages = []
    length = 0
    for lines in _pages(file):
        pages.append(lines)
        length += sum(len(line.text) + 1 for line in lines)
        if length > limits.max_characters:
            raise LimitError(
                f"{name}: expected at most {limits.max_characters:,} characters of text, got more on the first "
                f"{len(pages)} pages. Cut the file, or raise DocumentLimits.max_characters if you trust it.",
                code="too-many-characters",
                source=name,
            )
    if not length:
        raise InputError(
            f"{name}: expected a PDF with text, got {len(pages)} pages without any: pictures of text, perhaps. Run it "
            f"through a text recognition program that writes a text layer, such as ocrmypdf.",
            code="no-text",
            source=name,
        )
    return join_hyphens(without_running_heads(pages))


def _pages(file: PdfDocument) -> Iterator[list[Line]]:
    for page in file:
        text_page = page.get_textpage()
        text = text_page.get_text_bounded()
        yield list(_lines(text, text_page)) if text.strip() else []
        text_page.close()
        page.close()


def _lines(text: str, page: PdfTextPage) -> Iterator[Line]:
    """The lines of a page with words, and how high above its bottom each stands.

    After a hyphen at the end of a line pdfium writes the next line, whatever it is, without a line's end between them.
    """
    surplus = page.count_chars() - len(text)  # characters outside of the page, which pdfium counts
    at = 0
    for written in _LINE.findall(text.translate(_END_OF_LINE_HYPHENS)):
        line = replace_surrogates(written).translate(_CONTROL).rstrip()
        if line.strip(f"{HYPHEN} \t"):
            yield Line(line, _height(page, at if at < len(text) // 2 else at + surplus))
        at += len(written)


def _height(page: PdfTextPage, index: int) -> float:
    """Of the base line of a character, in points above the page's bottom."""
    from pypdfium2 import raw

    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(page, raw.FPDFText_GetCharIndexFromTextIndex(page, index), x, y)
    return y.value
