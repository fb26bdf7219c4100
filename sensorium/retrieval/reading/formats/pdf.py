"""PDF → documents: the text of all pages, and where each begins."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from sensorium.errors import InputError, LimitError
from sensorium.retrieval.reading.formats.decoding import replace_surrogates
from sensorium.retrieval.reading.formats.limits import DocumentLimits
from sensorium.retrieval.reading.passages import Document

if TYPE_CHECKING:
    from pypdf import PdfReader

_HEADER = 1024  # bytes among which "%PDF-" has to stand


def read_pdf(data: bytes, *, name: str, limits: DocumentLimits) -> Document:
    """A document whose pages follow each other a line apart; its title is the file's own, if it has one.

    Raises:
        InputError: `not-a-document`, `encrypted`, `no-text`. What pypdf raises on a damaged file comes through.
        LimitError: `too-many-pages`, `too-many-characters`.
    """
    from pypdf import PdfReader

    if b"%PDF-" not in data[:_HEADER]:
        raise InputError(
            f"{name}: expected a PDF file, got one that begins with {data[:8]!r}. Give it the suffix of its real "
            f"format.",
            code="not-a-document",
            source=name,
        )
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted:
        _decrypt(reader, name)
    if len(reader.pages) > limits.max_pages:
        raise LimitError(
            f"{name}: expected at most {limits.max_pages:,} pages, got {len(reader.pages):,}. Cut the file, or raise "
            f"DocumentLimits.max_pages if you trust it.",
            code="too-many-pages",
            source=name,
        )
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for page in reader.pages:
        starts.append(length)
        page_text = replace_surrogates(page.extract_text())
        parts.append(f"{page_text}\n" if page_text.strip() else "")  # a blank page ends no paragraph
        length += len(parts[-1])
        if length > limits.max_characters:
            raise LimitError(
                f"{name}: expected at most {limits.max_characters:,} characters of text, got more on the first "
                f"{len(parts)} pages. Cut the file, or raise DocumentLimits.max_characters if you trust it.",
                code="too-many-characters",
                source=name,
            )
    text = "".join(parts)
    if not text.strip():
        raise InputError(
            f"{name}: expected a PDF with text, got {len(parts)} pages without any: pictures of text, perhaps. Run it "
            f"through a text recognition program that writes a text layer, such as ocrmypdf.",
            code="no-text",
            source=name,
        )
    title = reader.metadata.title if reader.metadata else None
    return Document(text, " ".join(replace_surrogates(str(title or "")).split()), name, pages=tuple(starts))


def _decrypt(reader: PdfReader, name: str) -> None:
    """Opens what asks for no password; many files are encrypted only to forbid printing."""
    from pypdf.errors import DependencyError

    try:
        opened = reader.decrypt("")
        advice = "Save a copy without a password, and pass that."
    except DependencyError as error:
        opened = None
        advice = f"It may open without a password once a library is installed: {error}"
    if not opened:
        raise InputError(
            f"{name}: expected a PDF that opens without a password, got an encrypted one. {advice}",
            code="encrypted",
            source=name,
        )
