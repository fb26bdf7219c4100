"""Word (.docx) → documents: what mammoth makes HTML of, read as that is."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from sensorium.errors import InputError, LimitError
from sensorium.retrieval.reading.formats.decoding import Coding
from sensorium.retrieval.reading.formats.html import read_html
from sensorium.retrieval.reading.formats.limits import DocumentLimits
from sensorium.retrieval.reading.passages import Document

_OLD_OR_LOCKED = b"\xd0\xcf\x11\xe0"  # what files of old Word begin with, and new ones with a password
_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
strike => s
"""


def read_word(data: bytes, *, name: str, limits: DocumentLimits) -> Document:
    """A document with its headings; its title is the file's own, or the first heading.

    Raises:
        InputError: `missing-library`, `not-a-document`, `encrypted`. What mammoth raises on a damaged file comes
            through.
        LimitError: `too-many-bytes`, of what is compressed in it.
    """
    try:
        import mammoth
    except ImportError as error:
        raise InputError(
            f"{name}: .docx files are read by mammoth, which is not installed. pip install 'sensorium[docx]'",
            code="missing-library",
            source=name,
        ) from error
    if data.startswith(_OLD_OR_LOCKED):
        raise InputError(
            f"{name}: expected a .docx file that opens without a password, got an encrypted one, or an old .doc. Save "
            f"a copy as .docx without a password, and pass that.",
            code="encrypted",
            source=name,
        )
    if not data.startswith(b"PK"):
        raise InputError(
            f"{name}: expected a .docx file, got one that begins with {data[:8]!r}. Give it the suffix of its real "
            f"format.",
            code="not-a-document",
            source=name,
        )
    title = _title(data, name, limits)
    options: dict[str, Any] = {"convert_image": mammoth.images.img_element(lambda _: {}), "style_map": _STYLES}
    page = mammoth.convert_to_html(io.BytesIO(data), **options).value
    document = read_html(f"<body>{page}</body>".encode(), name=name, coding=Coding("utf-8"))
    return Document(document.text, title or document.title, name, headings=document.headings)


def _title(data: bytes, name: str, limits: DocumentLimits) -> str:
    """The title among the file's properties; refuses archives of too much."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > limits.max_bytes:
            raise LimitError(
                f"{name}: expected at most {limits.max_bytes:,} bytes in the archive that a .docx file is, got "
                f"{size:,}. Cut the file, or raise DocumentLimits.max_bytes if you trust it.",
                code="too-many-bytes",
                source=name,
            )
        if "docProps/core.xml" not in archive.namelist():
            return ""
        found = re.search(rb"<dc:title>([^<]*)</dc:title>", archive.read("docProps/core.xml"))
    if found is None:
        return ""
    words = read_html(found[1], name=name, coding=Coding("utf-8", "replace")).text  # its entities, too
    return " ".join(words.split())
