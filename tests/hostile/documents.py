"""Bombs of documents."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator

from tests.hostile.bomb import FINE, MIB, Bomb, gzipped_zeros, zeros

LARGE = ("too-many-bytes", "too-many-characters", "too-many-pages", "too-much-memory", "parsing-timeout")
DAMAGED = ("corrupt", "not-a-document", "empty-text", "no-text", "bad-encoding", "encrypted", "unknown-format",
           "unreadable-file")  # fmt: skip
ANY = (FINE, *LARGE, *DAMAGED)


def bomb(name: str, suffix: str, data, ends=ANY, what: str = "document") -> Bomb:
    return Bomb(
        name, what, lambda _: data() if callable(data) else data, ends if isinstance(ends, tuple) else (ends,), suffix
    )


# HTML, Markdown and manual pages

TAGS = ("div", "b", "table", "ul", "a", "svg", "math", "template", "blockquote", "font", "select", "h1")


def markup_bombs() -> Iterator[Bomb]:
    for tag in TAGS:
        for depth in (1_000, 200_000):
            yield bomb(
                f"HTML, {depth} <{tag}> in each other",
                ".html",
                lambda t=tag, d=depth: f"<{t}>".encode() * d + b"words" + f"</{t}>".encode() * (d // 2),
            )
    for name, data in {
        "a million attributes": lambda: b"<p " + b"".join(b"a%d=1 " % i for i in range(1_000_000)) + b">words",
        "an attribute of 20 MB": lambda: b"<p title='" + b"x" * 20_000_000 + b"'>words",
        "a comment of 20 MB": lambda: b"<!--" + b"-" * 20_000_000 + b"--><p>words",
        "comments that begin": lambda: b"<!-" * 5_000_000 + b"<p>words",
        "open angles": lambda: b"<" * 20_000_000,
        "a million entities": lambda: b"&amp;&#x10ffff;&#99999999;&bogus" * 1_000_000,
        "20 million lines": lambda: b"<br>" * 10_000_000 + b"words",
        "formatting that is opened again": lambda: b"<b><i><u><s><a><font>" * 3_000 + b"<p>words" * 3_000,
        "tables in tables": lambda: b"<table><tr><td>" * 20_000 + b"words",
        "a page of 101 MB": lambda: b"x " * 51_000_000,
        "pages in a data URI": lambda: b"<img src='data:image/png;base64," + b"A" * 10_000_000 + b"'>words",
    }.items():
        yield bomb(f"HTML, {name}", ".html", data)
    for name, data in {
        "quotes in quotes": lambda: b"> " * 100_000 + b"words",
        "lists in lists": lambda: b"".join(b" " * (2 * i) + b"- x\n" for i in range(3_000)),
        "brackets": lambda: b"[" * 200_000 + b"words" + b"](" * 200_000,
        "stars": lambda: b"*a_ " * 500_000,
        "ticks": lambda: b"".join(b"`" * (i % 3_000) + b"x " for i in range(6_000)),
        "a table of 5,000 columns": lambda: b"|a" * 5_000 + b"|\n" + b"|-" * 5_000 + b"|\n" + b"|x\n" * 5_000,
        "references": lambda: b"".join(b"[a%d]: /x\n" % i for i in range(200_000)) + b"[a1] " * 200_000,
        "headings": lambda: b"# a\n" * 1_000_000,
        "HTML": lambda: b"<div>\n" * 300_000,
        "a line of 20 MB": lambda: b"x" * 20_000_000,
    }.items():
        yield bomb(f"Markdown, {name}", ".md", data)
    for name, data in {
        "macros that call each other": lambda: b".de A\n.B\n..\n.de B\n.A\n..\n.A\n",
        "a million fonts": lambda: b".SH NAME\n" + rb"\fBx\fI" * 1_000_000,
        "files that include": lambda: b".so /dev/zero\n.so bomb.1\n" * 1_000,
        "lists that begin": lambda: b".TH X 1\n" + b".RS\n.TP\n" * 200_000 + b"words",
        "a table": lambda: b".TH X 1\n.TS\n" + b"l" * 100_000 + b".\n" + b"x\t" * 1_000_000 + b"\n.TE\n",
        "conditions": lambda: b".TH X 1\n" + b".if n \\{\\\n" * 100_000 + b"words",
        "a formula": lambda: b".TH X 1\n.EQ\n" + b"{" * 500_000 + b"x over y" + b"\n.EN\nwords",
    }.items():
        yield bomb(f"manual, {name}", ".1", data)
    yield bomb("manual, 10 GB in gzip", ".1.gz", lambda: gzipped_zeros(10_000))
    yield bomb("manual, gzip in gzip", ".1.gz", lambda: gzip.compress(gzip.compress(bytes(50 * MIB))))
    for code in ("utf-16", "utf-32"):
        yield bomb(f"HTML in {code}", ".html", lambda c=code: ("<p>" + "words " * 3_000_000).encode(c))
    for suffix in (".txt", ".rst"):
        yield bomb(f"{suffix} of a line of 50 MB", suffix, lambda: b"word " * 10_000_000)
        yield bomb(f"{suffix} of zeros", suffix, lambda: bytes(50 * MIB))
    yield bomb("reStructuredText, sections", ".rst", lambda: b"".join(b"a%d\n===\n\n" % i for i in range(300_000)))


# PDF


def pdf(*objects: bytes, root: int = 1) -> bytes:
    """A PDF of these objects, with a right table of them."""
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return bytes(
        out
        + head
        + table
        + b"trailer<</Root %d 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF" % (root, len(objects) + 1, len(out))
    )


def _stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>stream\n" % (entries, len(data)) + data + b"\nendstream"


def _page(content: bytes, entries: bytes = b"", page: bytes = b"", more: tuple[bytes, ...] = ()) -> bytes:
    resources = b"/Resources<</Font<</F 5 0 R>>%s>>" % page
    return pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R%s>>" % resources,
        _stream(content, entries),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *more,
    )


WORDS = b"BT /F 12 Tf 10 700 Td (some words) Tj ET\n"
FLATE = b"/Filter/FlateDecode"


def pdf_bombs() -> Iterator[Bomb]:
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>"
    for name, data in {
        "a page": lambda: _page(WORDS),
        "a stream of 4 GB": lambda: _page(zeros(4_000), FLATE),
        "a stream packed three times": lambda: _page(
            zlib.compress(zlib.compress(zeros(4_000))), b"/Filter[/FlateDecode/FlateDecode/FlateDecode]"
        ),
        "a hundred filters": lambda: _page(zeros(100), b"/Filter[" + b"/FlateDecode" * 100 + b"]"),
        "a form that draws itself": lambda: _page(
            b"/X Do " + WORDS, page=b"/XObject<</X 6 0 R>>", more=(_stream(b"/X Do /X Do", form),)
        ),
        "a million words": lambda: _page(zlib.compress(WORDS * 1_000_000), FLATE),
        "20 million letters": lambda: _page(
            zlib.compress(b"BT /F 12 Tf 10 700 Td " + b"(" + b"x" * 60_000 + b") Tj\n" * 400 + b" ET"), FLATE
        ),
        "a million states": lambda: _page(zlib.compress(b"q " * 1_000_000 + WORDS), FLATE),
        "arrays in arrays": lambda: _page(b"[" * 500_000 + WORDS),
        "dictionaries in dictionaries": lambda: pdf(b"<</A" * 300_000 + b">>" * 300_000),
        "pages of each other": lambda: pdf(
            b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>"
        ),
        "2**31 pages": lambda: pdf(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 2147483647>>"),
        "6,000 pages": lambda: pdf(
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[" + b"3 0 R " * 6_000 + b"]/Count 6000>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
        ),
        "a million objects": lambda: pdf(*[b"<<>>"] * 1_000_000),
        "a table of 2**31 objects": lambda: _page(WORDS).replace(b"xref\n0 6", b"xref\n0 2147483647"),
        "a table that follows itself": lambda: _page(WORDS).replace(b"/Size 6", b"/Size 6/Prev 9"),
        "a picture of 65,535 px": lambda: _page(
            b"/X Do " + WORDS,
            page=b"/XObject<</X 6 0 R>>",
            more=(
                _stream(
                    zeros(100),
                    b"/Type/XObject/Subtype/Image/Width 65535/Height 65535/BitsPerComponent 8/ColorSpace/DeviceRGB"
                    + FLATE,
                ),
            ),
        ),
        "a page of 10**9 px": lambda: _page(WORDS).replace(b"[0 0 600 800]", b"[0 0 999999999 999999999]"),
        "a predictor of 2**31 columns": lambda: _page(
            zeros(10), FLATE + b"/DecodeParms<</Predictor 15/Columns 2147483647/Colors 99>>"
        ),
        "an outline that follows itself": lambda: (
            _page(WORDS).replace(b"/Pages 2 0 R>>", b"/Pages 2 0 R/Outlines 6 0 R>>") + b""
        ),
        "no page": lambda: pdf(b"<</Type/Catalog>>"),
        "a head alone": lambda: b"%PDF-1.7\n" + b"\n" * 50_000_000,
    }.items():
        yield bomb(f"PDF, {name}", ".pdf", data)


# Word

NAMES = "xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'"
TYPES = b"<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>"


def word(body: bytes, *, before: bytes = b"", **files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr(
            "word/document.xml", before + f"<w:document {NAMES}><w:body>".encode() + body + b"</w:body></w:document>"
        )
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return buffer.getvalue()


def _laughs() -> bytes:
    entities = "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10 if i else 'ha'}'>" for i in range(12))
    return f"<?xml version='1.0'?><!DOCTYPE x [{entities}]>".encode()


def _lying(data: bytes) -> bytes:
    """An archive whose list says that each file has a byte."""
    out = bytearray(data)
    at = out.find(b"PK\1\2")
    while at >= 0:
        out[at + 24 : at + 28] = (1).to_bytes(4, "little")
        at = out.find(b"PK\1\2", at + 4)
    return bytes(out)


PARAGRAPH = b"<w:p><w:r><w:t>words</w:t></w:r></w:p>"


def word_bombs() -> Iterator[Bomb]:
    for name, data in {
        "a paragraph": lambda: word(PARAGRAPH),
        "a hundred million laughs": lambda: word(b"<w:p><w:r><w:t>&e11;</w:t></w:r></w:p>", before=_laughs()),
        "an entity of this machine": lambda: word(
            b"<w:p><w:r><w:t>&x;</w:t></w:r></w:p>", before=b"<!DOCTYPE x [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
        ),
        "50 MB of blanks": lambda: word(PARAGRAPH + b" " * 50_000_000),
        "120 MB of blanks": lambda: word(PARAGRAPH + b" " * 120_000_000),
        "120 MB that tell of a byte": lambda: _lying(word(PARAGRAPH + b" " * 120_000_000)),
        "runs in runs": lambda: word(b"<w:p>" + b"<w:r>" * 100_000 + b"</w:r>" * 100_000 + b"</w:p>"),
        "tables in tables": lambda: word(
            b"<w:tbl><w:tr><w:tc>" * 20_000 + PARAGRAPH + b"</w:tc></w:tr></w:tbl>" * 20_000
        ),
        "a million paragraphs": lambda: word(PARAGRAPH * 1_000_000),
        "a million attributes": lambda: word(
            b"<w:p " + b"".join(b"a%d='1' " % i for i in range(500_000)) + b"/>" + PARAGRAPH
        ),
        "60,000 files": lambda: word(PARAGRAPH, **{f"a{i}": b"" for i in range(60_000)}),
        "styles of each other": lambda: word(
            PARAGRAPH,
            word__styles_xml=f"<w:styles {NAMES}>".encode()
            + b"<w:style w:styleId='a'><w:basedOn w:val='a'/></w:style>" * 9_000
            + b"</w:styles>",
        ),
        "a title of laughs": lambda: word(
            PARAGRAPH, docProps__core_xml=_laughs() + b"<x><dc:title>&e11;</dc:title></x>"
        ),
        "a title of 50 MB": lambda: word(
            PARAGRAPH, docProps__core_xml=b"<x><dc:title>" + b"a " * 25_000_000 + b"</dc:title></x>"
        ),
        "no archive": lambda: b"PK\3\4" + bytes(1_000),
        "an archive of nothing": lambda: b"PK\5\6" + bytes(18),
    }.items():
        yield bomb(f"Word, {name}", ".docx", data)


def all_bombs() -> Iterator[Bomb]:
    for kind in (markup_bombs, pdf_bombs, word_bombs):
        yield from kind()
