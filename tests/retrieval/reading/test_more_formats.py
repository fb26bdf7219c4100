"""Word files, manual pages, and files that gzip has compressed."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from pathlib import Path

import pytest

from sensorium.errors import InputError, LimitError
from sensorium.retrieval.reading.documents import DocumentLimits, find_documents, read_documents
from sensorium.retrieval.reading.formats.word import read_word
from sensorium.retrieval.reading.splitting import split

WORDS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006"


def paragraph(*runs, style=""):
    """Runs are texts, or pairs of a property and a text."""
    written = []
    for run in runs:
        name, text = run if isinstance(run, tuple) else ("", run)
        written.append(f'<w:r><w:rPr>{name}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>')
    named = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{named}{''.join(written)}</w:p>"


def word_file(*body, title=""):
    """A .docx, written by hand."""
    kind = "application/vnd.openxmlformats"
    main = f"{kind}-officedocument.wordprocessingml.document.main+xml"
    document = f'<Override PartName="/word/document.xml" ContentType="{main}"/>'
    relations = f'<Default Extension="rels" ContentType="{kind}-package.relationships+xml"/>'
    target = f'<Relationship Id="r1" Type="{OFFICE}/relationships/officeDocument" Target="word/document.xml"/>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">{relations}{document}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{target}</Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{WORDS}"><w:body>{"".join(body)}</w:body></w:document>',
    }
    if title:
        parts["docProps/core.xml"] = (
            f'<cp xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></cp>'
        )
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


def read_one(tmp_path, name, data, **options):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    (document,) = read_documents(path, **options)
    assert document.source == str(path)
    for passage in split(document):
        assert document.text[passage.start : passage.end] == passage.text
    return document


def fault(tmp_path, name, data, **options):
    with pytest.raises(InputError) as caught:
        read_one(tmp_path, name, data, **options)
    assert name in str(caught.value)
    return caught.value.code


def test_word_files(tmp_path):
    cell = "<w:tc>{}</w:tc>"
    table = "<w:tbl>{}</w:tbl>".format(
        "".join(
            f"<w:tr>{cell.format(paragraph(a))}{cell.format(paragraph(b))}</w:tr>"
            for a, b in (("Place", "Depth"), ("Mill", "3 m"))
        )
    )
    up, down = '<w:vertAlign w:val="superscript"/>', '<w:vertAlign w:val="subscript"/>'
    inserted = (
        f"<w:p><w:ins>{paragraph('It is new.')[5:-6]}</w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>"
    )
    data = word_file(
        paragraph("The river", style="Heading1"),
        paragraph(
            "It is 10", (up, "6"), " m", (up, "2"), " of H", (down, "2"), "O, ", ("<w:strike/>", "not "), "wide."
        ),
        paragraph("Fish", style="Heading2"),
        table,
        inserted,
        title="Rivers &amp; lakes",
    )
    document = read_one(tmp_path, "a.docx", data)
    assert document.title == "Rivers & lakes"
    assert document.text.strip() == (
        "The river\n\nIt is 10^6 m^2 of H2O, wide.\n\nFish\n\nPlace | Depth\nMill | 3 m\n\nIt is new."
    )
    assert [(h.text, h.level) for h in document.headings] == [("The river", 1), ("Fish", 2)]
    assert [p.metadata["section"] for p in split(document)] == ["The river", "The river > Fish"]
    assert read_one(tmp_path, "b.DOCX", word_file(paragraph("Eels", style="Heading1"))).title == "Eels"


def test_bad_word_files(tmp_path, monkeypatch):
    good = word_file(paragraph("It is long."))
    assert fault(tmp_path, "a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1") == "encrypted"
    assert fault(tmp_path, "b.docx", b"plain text") == "not-a-document"
    assert fault(tmp_path, "c.docx", good[: len(good) // 2]) == "corrupt"
    assert fault(tmp_path, "d.docx", word_file()) == "empty-text"
    with pytest.raises(LimitError) as caught:
        read_one(tmp_path, "e.docx", word_file(paragraph("x" * 100_000)), limits=DocumentLimits(max_bytes=50_000))
    assert caught.value.code == "too-many-bytes"
    monkeypatch.setitem(sys.modules, "mammoth", None)
    with pytest.raises(InputError, match=r"pip install 'sensorium\[docx\]'") as missing:
        read_word(good, name="a.docx", limits=DocumentLimits())
    assert missing.value.code == "missing-library"


MAN = r"""'\" t
.\" A comment
.de XX
.B never
..
.TH RIVER 7 2024\-01\-01
.SH NAME
river \- where water \fIruns\fR
.SH "HOW IT FLOWS"
It flows
.BR down (1),
\(lqas it must\(rq.\" so they say
.if t It is typeset.
.if n It is read.
.TP
\fB\-\-fast\fR
Flows fast\&.
.IP \(bu 2
an item
.PP
C:\e\*(rq and \[u00E9]
.nf
a\ b
  c
.fi
.SS Fish
Trout.
"""

MDOC = """.Dd January 1, 2024
.Dt MILL 1
.Os
.Sh NAME
.Nm mill
.Nd grinds barley
.Sh SYNOPSIS
.Nm
.Op Fl cv
.Op Fl o Ar file
.Ar
.Sh DESCRIPTION
.Nm
grinds.
See
.Xr river 7 .
.Bl -tag -width x
.It Fl c , Fl -coarse
Coarse
.Dq flour .
.El
"""


def test_manual_pages(tmp_path):
    document = read_one(tmp_path, "river.7", MAN)
    assert document.title == "river(7)"
    assert document.text == (
        "NAME\n\nriver - where water runs\n\nHOW IT FLOWS\n\nIt flows down(1), “as it must”. It is read.\n\n"
        "--fast\nFlows fast.\n\n• an item\n\nC:\\” and é\na b\n  c\n\nFish\n\nTrout."
    )
    assert [(h.text, h.level) for h in document.headings] == [("NAME", 1), ("HOW IT FLOWS", 1), ("Fish", 2)]
    mill = read_one(tmp_path, "mill.1.gz", gzip.compress(MDOC.encode()))
    assert mill.title == "mill(1)"
    assert mill.text == (
        "NAME\n\nmill - grinds barley\n\nSYNOPSIS\n\nmill [-cv] [-o file] file ...\n\nDESCRIPTION\n\n"
        "mill grinds. See river(7).\n\n-c, --coarse\nCoarse “flour”."
    )


def test_files_that_only_end_like_manual_pages(tmp_path):
    assert fault(tmp_path, "libriver.so.1", b"\x7fELF and no words") == "not-a-document"
    (tmp_path / "log.1").write_text("Nothing of roff.\n")
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(b"Nothing of roff."))
    (tmp_path / "torn.3.gz").write_bytes(b"\x1f\x8b and no more")
    (tmp_path / "river.7").write_text(MAN)
    assert [Path(path).name for path in find_documents(tmp_path)] == ["river.7"]
    assert fault(tmp_path, "log.1", b"Nothing of roff.") == "not-a-document"


@pytest.mark.parametrize("name", ["a.txt.gz", "a.md.GZ", "a.rst.gz", "a.html.gz"])
def test_compressed_files(tmp_path, name):
    text = "River\n=====\n\nIt begins in the hills.\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()))
    assert [str(path)] == list(find_documents(tmp_path))
    document = read_one(tmp_path, name, gzip.compress(text.encode()))
    assert "It begins in the hills." in document.text and (document.text == text) == ("html" not in name)
    assert fault(tmp_path, name, b"not compressed") == "corrupt"
    assert fault(tmp_path, name, gzip.compress(text.encode())[:-9]) == "corrupt"
    bomb = gzip.compress(b"word " * 40_000)
    assert fault(tmp_path, name, bomb, limits=DocumentLimits(max_bytes=100_000)) == "too-many-bytes"


def test_compressed_rows_are_still_those_of_read_passages(tmp_path):
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(InputError, match="read_passages"):
        list(read_documents(tmp_path / "corpus.jsonl.gz"))
