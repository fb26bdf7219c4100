"""Real files of every kind become documents; bad ones become errors, and cost no good one."""

from __future__ import annotations

import io
import os
import random
import zlib
from pathlib import Path

import pypdf
import pytest
from pypdf.generic import NameObject

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.retrieval.reading.documents import DocumentLimits, find_documents, read_documents
from sensorium.retrieval.reading.formats.isolation import IsolatedParser
from sensorium.retrieval.reading.splitting import split

PATIENT = DocumentLimits(timeout_s=250)  # which no file here needs, however busy the machine
LINUX = pytest.mark.skipif(os.uname().sysname != "Linux", reason="links, permissions and memory as Linux has them")


def pdf_file(*pages, title="", compress=True):
    """A PDF with a line of text for each string of a page, written by hand."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        shown = b" T* ".join(b"(" + line.encode("cp1252") + b") Tj" for line in lines)
        content = b"BT /F1 12 Tf 14 TL 72 720 Td " + shown + b" ET"
        coded = zlib.compress(content) if compress else content
        coding = b" /Filter /FlateDecode" if compress else b""
        objects.append(b"<< /Length %d%b >>\nstream\n%b\nendstream" % (len(coded), coding, coded))
        kids.append(len(objects) + 1)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (len(objects))
        )
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%b] >>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    objects.append(b"<< /Title (" + title.encode("cp1252") + b") >>")
    body, places = bytearray(b"%PDF-1.4\n"), []
    for number, each in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF" % (size, size - 1, len(body))
    return bytes(body + b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table) + trailer)


HTML = b"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>The  River &amp; the sea</title>
<style>p { color: red }</style><script>var hidden = "script";</script></head>
<body><header role="banner">Site banner</header><nav><a href="/">Menu</a></nav>
<main><h1>The <em>river</em><a class="headerlink" href="#r">\xc2\xb6</a></h1>
<p>It begins in the
   <b>hi</b>lls.<br>It is long.</p><!-- a comment -->
<h2>Fish</h2><ul><li>trout</li><li><p>eel</p></li><li></li></ul>
<table><tr><th>Place<th>Depth<tr><td><p>Mill</p></td><td>3 m</td></tr></table>
<pre><span>if</span> deep:
    swim()
</pre><p hidden>secret</p><svg><text>drawn</text></svg></main><footer>Imprint</footer></body></html>"""

MARKDOWN = """---
title: 'The river: a guide'
---
# River `guide`

It begins in the *hills*.

```sh
# no heading
```

Fish
----

Trout and eel.
"""


def read_one(tmp_path, name, data, **options):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    (document,) = read_documents(path, **options)
    assert document.source == str(path)
    return document


def fault(tmp_path, name, data, **options):
    with pytest.raises(InputError) as caught:
        read_one(tmp_path, name, data, **options)
    assert caught.value.index == 0
    assert caught.value.source == str(tmp_path / name)
    assert name in str(caught.value)
    return caught.value.code


def headings(document):
    return [(document.text[h.start : h.end], h.level, h.text) for h in document.headings]


@pytest.mark.parametrize(
    "coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_text_is_read_by_its_byte_order_mark(tmp_path, coding):
    text = "Größe\r\n大小 😀\n"
    mark = "\ufeff" if coding.endswith("e") else ""  # the others write theirs
    assert read_one(tmp_path, "a.txt", (mark + text).encode(coding)).text == text
    assert read_one(tmp_path, "a.md", (mark + text).encode(coding)).text == text
    if coding != "utf-8":
        assert "Größe" in read_one(tmp_path, "a.html", (mark + text).encode(coding)).text


def test_no_encoding_is_guessed(tmp_path):
    data = "Größe".encode("cp1252")
    assert fault(tmp_path, "a.txt", data) == "bad-encoding"
    assert fault(tmp_path, "a.md", data) == "bad-encoding"
    assert fault(tmp_path, "a.html", data) == "bad-encoding"
    assert fault(tmp_path, "b.txt", b"\xff\xfea") == "bad-encoding"  # half a character
    assert fault(tmp_path, "b.html", b"<meta charset=utf-8>" + data) == "bad-encoding"
    assert fault(tmp_path, "c.html", b"<meta charset=klingon>" + data) == "bad-encoding"
    assert fault(tmp_path, "d.html", b"<meta charset=zip>" + data) == "bad-encoding"
    for name in ("a.txt", "a.md", "a.html"):
        assert read_one(tmp_path, name, data, encoding="cp1252").text.strip() == "Größe"
    assert read_one(tmp_path, "l.html", b"<meta charset='ISO-8859-1'>\x93" + data).text.strip() == "“Größe"
    assert read_one(tmp_path, "u.txt", "Größe".encode("utf-16-le"), encoding="utf-16-le").text == "Größe"
    for bad in ("klingon", "zip", "", 7, "replacement", "utf-8\0"):
        with pytest.raises(OptionError, match="encoding"):
            read_documents(tmp_path, encoding=bad)


@pytest.mark.parametrize(
    ("label", "coding", "text"),
    [
        ("x-sjis", "cp932", "日本語①"),
        ("windows-31j", "cp932", "日本語"),
        ("windows-874", "cp874", "ภาษาไทย€"),
        ("dos-874", "cp874", "ภาษาไทย"),
        ("iso-8859-8-i", "iso-8859-8", "עברית"),
        ("logical", "iso-8859-8", "עברית"),
        ("x-cp1252", "cp1252", "Größe „€“"),
        ("US-ASCII", "cp1252", "Größe „€“"),
        ("iso-8859-1", "cp1252", "“Größe”"),
        ("iso-8859-9", "cp1254", "“İstanbul”"),
        ("x-mac-cyrillic", "mac-cyrillic", "Привет"),
        ("gb_2312-80", "gb18030", "汉字㐀"),
        ("x-gbk", "gb18030", "汉字㐀"),
        ("x-x-big5", "big5hkscs", "漢字"),
        ("ks_c_5601-1989", "cp949", "한국어똠"),
        ("x-euc-jp", "euc_jp", "日本語"),
        ("koi8-ru", "koi8-u", "Привіт"),
        ("unicode-1-1-utf-8", "utf-8", "Größe 大"),
        ("utf-16le", "utf-8", "Größe 大"),
        ("cp850", "cp850", "Größe ╬"),
    ],
)
def test_encodings_as_browsers_name_them(tmp_path, label, coding, text):
    for declaration in (
        f"<meta charset={label}>",
        f"<meta http-equiv=content-type content='text/html; charset={label}'>",
    ):
        page = f"{declaration}<p>{text}".encode(coding)
        assert read_one(tmp_path, "a.html", page).text == text
    if label not in ("utf-16le", "US-ASCII", "iso-8859-1", "iso-8859-9"):  # which Python knows, and takes literally
        for name in ("b.txt", "b.md", "b.html"):
            assert read_one(tmp_path, name, text.encode(coding), encoding=label).text.strip() == text


def test_an_encoding_that_is_given_overrides_what_a_page_declares(tmp_path):
    wrong = b"<meta charset=utf-8><p>Gr\xf6\xdfe"
    assert fault(tmp_path, "a.html", wrong) == "bad-encoding"
    assert read_one(tmp_path, "a.html", wrong, encoding="windows-1252").text == "Größe"
    with_mark = "\ufeffGröße".encode()
    assert read_one(tmp_path, "b.html", with_mark, encoding="cp1252").text == "Größe", (
        "a byte order mark is never wrong"
    )
    assert fault(tmp_path, "c.html", b"<meta charset=hz-gb-2312>a") == "bad-encoding", "browsers refuse it"


def test_what_cannot_be_decoded_may_be_replaced(tmp_path):
    data = b"<p>Gr\xf6\xdfe</p>"
    for name in ("a.txt", "a.md", "a.rst", "a.html"):
        assert "Gr\ufffd\ufffde" in read_one(tmp_path, name, data, errors="replace").text
    assert fault(tmp_path, "b.txt", b"\xff\0\1", errors="replace") == "not-a-document"
    with pytest.raises(OptionError, match="'strict' or 'replace', got 'ignore'"):
        read_documents(tmp_path, errors="ignore")


def test_binary_files_under_wrong_names_are_refused(tmp_path):
    pixels = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    for name in ("a.txt", "a.rst", "a.md", "a.html", "a.pdf"):
        assert fault(tmp_path, name, pixels) == "not-a-document"
    assert fault(tmp_path, "b.pdf", b"<html>404</html>") == "not-a-document"
    assert fault(tmp_path, "zero.txt", b"text\0text") == "not-a-document"


@pytest.mark.parametrize("suffix", [".txt", ".rst", ".md", ".html", ".pdf"])
def test_files_without_words_are_refused(tmp_path, suffix):
    assert fault(tmp_path, "empty" + suffix, b"") == "empty-file"
    blank = pdf_file([], []) if suffix == ".pdf" else b"\xef\xbb\xbf \n\n"
    assert fault(tmp_path, "blank" + suffix, blank) == ("no-text" if suffix == ".pdf" else "empty-text")


def test_blank_pages_and_front_matter_are_no_words(tmp_path):
    assert fault(tmp_path, "a.html", b"<title>T</title><nav>Menu</nav><script>x</script>") == "empty-text"
    assert fault(tmp_path, "a.md", b"---\ntitle: T\n---\n\n") == "empty-text"


def test_html_is_its_main_part_in_blocks(tmp_path):
    document = read_one(tmp_path, "a.html", HTML)
    assert document.text.strip() == (
        "The river\n\nIt begins in the hills.\nIt is long.\n\nFish\n\n- trout\n- eel\n\n"
        "Place | Depth\nMill | 3 m\n\nif deep:\n    swim()"
    )
    assert document.title == "The River & the sea"
    assert headings(document) == [("The river", 1, "The river"), ("Fish", 2, "Fish")]
    assert [p.metadata["section"] for p in split(document)] == ["The river", "The river > Fish"]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("2<sup>2</sup> = 4", "2^2 = 4"),
        ("10<sup>6</sup> m and 10<sup>-6</sup>m", "10^6 m and 10^-6 m"),
        ("e<sup>x + 1</sup>", "e^(x + 1)"),
        ("10<sup> 6 </sup>m and x<sup>i<sub>j</sub></sup>", "10^6 m and x^(i_j)"),
        ("Ca<sup>2+</sup>, <b>m</b><sup><i>2</i></sup>.", "Ca^2+, m^2."),
        ("the 1<sup>st</sup> and 2<sup>nd</sup>, Brand<sup>TM</sup>", "the 1st and 2nd, BrandTM"),
        ('as said<sup><a href="#n1">1</a></sup> and<sup>[2]</sup> so', "as said[1] and[2] so"),
        ("H<sub>2</sub>O, CO<sub>2</sub>e", "H2O, CO2e"),
        ("x<sub>i</sub>y, log<sub>2</sub>8, 10<sub>2</sub>, a<sub>i,j</sub>", "x_i y, log2 8, 10_2, a_i,j"),
        ("x<sub>n</sub><sup>2</sup> (2<sup>2</sup>)<sup>3</sup>", "x_n^2 (2^2)^3"),
        ("<sup>*</sup>a <sup>b</sup>", "*a b"),
        ("<pre>2<sup>8</sup>\n x</pre>", "2^8\n x"),
        ("<math><msup><mn>2</mn><mn>2</mn></msup><mo>=</mo><mn>4</mn></math>", "2^2=4"),
        ("<math><mfrac><mn>1</mn><mrow><mi>x</mi><mo>+</mo><mn>2</mn></mrow></mfrac></math> m", "1/(x+2) m"),
        ("<math><msqrt><mn>2</mn><mi>x</mi></msqrt><mi>sin</mi><mi>x</mi></math>", "√2x sin x"),
        ("<math><semantics><msub><mi>a</mi><mi>i</mi></msub><annotation>a_{i}</annotation></semantics></math>", "a_i"),
        ("a<span style='color: red; DISPLAY : none !important'>x</span>b", "ab"),
        ("a<p style='visibility:hidden'>x</p>b<i style='display:none;'>x</i>", "ab"),
        ("<i style='--display:none-of-it'>a</i><i style='display:inline'>b</i>", "ab"),
        ("a<b hidden>x</b><b hidden='until-found'>b</b><dialog>x</dialog><dialog open>c</dialog>", "abc"),
        ("<span aria-hidden='true'>a</span> <h2>b<a aria-hidden=true href='#b'>#</a></h2>", "a\n\nb"),
        ("for <del>10</del><ins>8</ins>, <s>7</s>6 and <strike>5</strike>4", "for 8, 6 and 4"),
        ("<ruby>\u6f22<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>\u5b57", "\u6f22\u5b57"),
        ("a&nbsp;b co&shy;operate a/<wbr>b c&#8203;d", "a b cooperate a/b cd"),
        ("He said <q>yes</q> and <q><b>no</b></q>.", "He said “yes” and “no”."),
        ("a<script>x</script>b<template>x</template>c<noscript>x</noscript>d", "abcd"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<table><tr><td>2<sup>2</sup><td>3</table>", "2^2 | 3"),
    ],
)
def test_html_is_read_as_it_is_seen(tmp_path, html, text):
    assert read_one(tmp_path, "a.html", f"<meta charset=utf-8><p>{html}".encode()).text.strip() == text


def test_raised_characters_keep_the_offsets(tmp_path):
    page = "<h1>The 2<sup>2</sup> ways</h1><p>one</p><h2>H<sub>2</sub>O</h2><p>two 10<sup>6</sup>"
    document = read_one(tmp_path, "a.html", page)
    assert headings(document) == [("The 2^2 ways", 1, "The 2^2 ways"), ("H2O", 2, "H2O")]
    assert [p.text for p in split(document)] == ["The 2^2 ways\n\none", "H2O\n\ntwo 10^6"]
    nested = "<math>" + "<mrow>" * 5000 + "<mi>x</mi>" + "</mrow>" * 5000 + "</math>y" + "<sup>" * 300 + "2"
    assert "y" in read_one(tmp_path, "b.html", nested).text


def test_html_without_a_main_part_or_title(tmp_path):
    document = read_one(tmp_path, "a.htm", b"<nav>Menu</nav><h2>One</h2>two<p>three<article><p>a</article><article>b")
    assert (document.title, document.text) == ("One", "One\n\ntwo\n\nthree\n\na\n\nb")
    empty = read_one(tmp_path, "b.html", b"<main><script>fill()</script></main><p>outside")
    assert empty.text == "outside"
    assert read_one(tmp_path, "deep.html", b"<div>" * 100_000 + b"down" + b"</div>" * 100_000).text == "down"


def test_markdown_keeps_its_text_and_knows_its_headings(tmp_path):
    document = read_one(tmp_path, "a.md", MARKDOWN)
    assert document.text == MARKDOWN
    assert document.title == "The river: a guide"
    assert headings(document) == [("# River `guide`", 1, "River guide"), ("Fish\n----", 2, "Fish")]
    first, second = split(document)
    assert first.text.startswith("# River")
    assert first.text.endswith("# no heading\n```")
    assert (second.text, second.metadata["section"]) == ("Fish\n----\n\nTrout and eel.", "River guide > Fish")
    for ending in ("\r\n", "\r"):
        same = read_one(tmp_path, "b.md", MARKDOWN.replace("\n", ending))
        assert [h.text for h in same.headings][-2:] == ["River guide", "Fish"]
        assert all(same.text[h.start : h.end].split() for h in same.headings)


@pytest.mark.parametrize(
    ("text", "title", "start"),
    [
        ("# One\n\ntext", "One", 0),
        ("text only", "", 0),
        ('+++\ntitle = "Toml"\n+++\ntext', "Toml", 23),
        ("---\ntags: [a]\n---\n## Two\ntext", "Two", 18),
        ("---\ntitle: |\n  long\n---\ntext", "", 24),
        ("---\n\nA rule, no front matter\n\n---\n", "", 0),
        ("---\ntitle: never ends\n", "", 0),
    ],
)
def test_titles_of_markdown(tmp_path, text, title, start):
    document = read_one(tmp_path, "a.md", text)
    assert (document.title, document.start, document.text) == (title, start, text)


def test_restructuredtext_knows_its_headings(tmp_path):
    text = (
        "=====\nRiver\n=====\n\nIntro.\n\nFish\n----\n\nTrout.\n\n====  ====\nA     B\n====  ====\n\n"
        "Eel\n~~~\n\nLong.\n\nSea\n---\nx"
    )
    document = read_one(tmp_path, "a.rst", text)
    assert document.text == text
    assert [(level, name) for _, level, name in headings(document)] == [
        (1, "River"),
        (2, "Fish"),
        (3, "Eel"),
        (2, "Sea"),
    ]
    assert headings(document)[0][0] == "=====\nRiver\n====="
    assert document.title == "River"


def test_pdf_by_pages(tmp_path):
    pages = [["Faust was written", "by Goethe. It"], [], ["ends here. Größe."]]
    document = read_one(tmp_path, "a.pdf", pdf_file(*pages, title="Faust I"))
    assert document.text.split() == " ".join(" ".join(lines) for lines in pages).split()
    assert document.title == "Faust I"
    assert [document.text[p:].split()[0] for p in document.pages] == ["Faust", "ends", "ends"]
    one, two = split(document, words=7, overlap=0)
    assert [(p.metadata["page"], p.metadata["last_page"]) for p in (one, two)] == [(1, 1), (1, 3)]


def test_pdf_that_pypdf_writes(tmp_path):
    for algorithm in ("RC4-40", "RC4-128"):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf_file(["Hello there."])))
        for name, user in (("open.pdf", ""), ("locked.pdf", "secret")):
            writer.encrypt(user, "owner", algorithm=algorithm)
            data = io.BytesIO()
            writer.write(data)
            if user:
                assert fault(tmp_path, name, data.getvalue()) == "encrypted"
            else:
                assert read_one(tmp_path, name, data.getvalue()).text.strip() == "Hello there."


def test_running_heads_and_page_numbers_are_left_out(tmp_path):
    bodies = [
        [f"Rivers, {n * 3}, begin in the hills.", f"They are long, of {n} kinds", f"and page {i} has {n * 2}."]
        for i, n in enumerate("abcd")
    ]
    heads = [["The Book of Rivers", *body, f"Page {i} of 4"] for i, body in enumerate(bodies, 1)]
    chapters = [[f"Chapter 2: The Rivers {i + 6}", *body] for i, body in enumerate(bodies)]
    sides = [[*body, "The Book of Rivers" if i % 2 else "About Rivers in General", f"- {i} -"]
             for i, body in enumerate(bodies * 2, 20)]  # fmt: skip
    roman = [[*body, number] for body, number in zip(bodies, ("iii", "iv", "v", "vi"), strict=True)]
    for pages, text in (
        (heads, bodies),
        (chapters, bodies),
        (sides, bodies * 2),
        (roman, bodies),
        (heads[:2], bodies[:2]),
    ):
        document = read_one(tmp_path, "a.pdf", pdf_file(*pages))
        assert document.text == "".join("\n".join(body) + "\n" for body in text)
        assert [document.text[start:].split()[0] for start in document.pages] == ["Rivers,"] * len(text)
    document = read_one(tmp_path, "a.pdf", pdf_file(*heads))
    pages = [(p.metadata["page"], p.metadata["last_page"]) for p in split(document, by="words", words=20)]
    assert pages == [(1, 2), (2, 3), (3, 4), (4, 4)]


def test_heads_that_name_the_section_are_left_out(tmp_path):
    """Of books whose heads change from page to page, as LaTeX sets them: apart from the text."""
    names = ("1.1. Springs", "1.1. Springs of the North", "1.2. Mouths", "1.4. Deltas")
    pages = [
        [f"CHAPTER 1. RIVERS {name}", "", "", f"They are {n}.", f"Of {n * 9}.", n]
        for n, name in zip("abcd", names, strict=True)
    ]
    document = read_one(tmp_path, "a.pdf", pdf_file(*pages))
    assert document.text == "".join(f"They are {n}.\nOf {n * 9}.\n{n}\n" for n in "abcd")


def test_what_does_not_run_over_the_pages_is_kept(tmp_path):
    for pages in (
        [["The Book of Rivers", "One page alone.", "1"]],
        [["Fish"], ["Fish"], ["Fish"]],  # nothing else would be left
        [["Trout", "3 of them"], ["Eel", "7 of them"], ["Pike", "4 of them"]],
        [["A list", "goes", "on", "and", "7"], ["The next", "page", "has", "other", "12"], ["x", "y", "z", "u", "30"]],
        [["Same", f"but {word} far away"] if i % 5 == 0 else [f"Page of {word}", word * 3, word * 2]
         for i, word in enumerate("abcdefghijklmnop")],
    ):  # fmt: skip
        text = read_one(tmp_path, "a.pdf", pdf_file(*pages)).text
        assert text == "".join("\n".join(page) + "\n" for page in pages)
    short = [["Head", f"{i} rivers", str(i)] for i in range(1, 5)]
    assert read_one(tmp_path, "a.pdf", pdf_file(*short)).text == "".join(f"{i} rivers\n" for i in range(1, 5))
    book = [["The Book of Rivers", "begins"], *(["The Book of Rivers", f"goes on {n}"] for n in "abc")]
    titled = pdf_file(*book, compress=False).replace(
        b"72 720", b"72 600", 1
    )  # the title of the first page stands lower
    text = read_one(tmp_path, "b.pdf", titled).text
    assert text == "The Book of Rivers\nbegins\ngoes on a\ngoes on b\ngoes on c\n"


def test_words_parted_at_the_end_of_a_line_are_put_together(tmp_path):
    pages = [
        ["The well-known sys-", "tems of the fil-", "ters, and the well-", "known GNU-", "Linux; UPPER-", "CASE, 64-",
         "bit, state-of-the-", "art, a read-", "only text and a docu-"],
        ["ment, which goes on. We read it, we read what is only read, and only that."],
    ]  # fmt: skip
    document = read_one(tmp_path, "a.pdf", pdf_file(*pages))
    assert document.text == (
        "The well-known systems of the filters, and the well-known GNU-Linux; UPPERCASE, 64-bit, state-of-the-art, "
        "a read-only text and a document,\nwhich goes on. We read it, we read what is only read, and only that.\n"
    )
    assert document.text[document.pages[1] :].startswith("which goes on")


def test_limits(tmp_path):
    def limited(name, data, **limits):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(LimitError) as caught:
            list(read_documents(path, limits=DocumentLimits(**limits)))
        return caught.value.code

    three = pdf_file(["one"], ["two"], ["three"])
    assert limited("a.txt", b"x" * 11, max_bytes=10) == "too-many-bytes"
    assert limited("a.pdf", three, max_bytes=10) == "too-many-bytes"
    assert limited("b.pdf", three, max_pages=2) == "too-many-pages"
    assert limited("c.pdf", three, max_characters=8) == "too-many-characters"
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(200 * 2**20)  # a hole: it takes no room
    assert limited("d.txt", b"x" * 10, max_bytes=9) == "too-many-bytes"
    with pytest.raises(LimitError, match=r"at most 104,857,600 bytes, got 209,715,200"):
        list(read_documents(tmp_path / "huge.txt"))
    for bad in ({"max_bytes": 0}, {"timeout_s": -1}, {"max_pages": "3"}, {"max_pages": True}):
        with pytest.raises(OptionError, match=next(iter(bad))):
            DocumentLimits(**bad)


def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read(tmp_path, monkeypatch):
    """The first two would take a minute or more; the third has all the time that a busy machine may need for it."""
    (tmp_path / "a.pdf").write_bytes(pdf_file(["word"] * 2_000_000))
    (tmp_path / "b.html").write_bytes(b"<p>x" * 4_000_000)
    (tmp_path / "c.html").write_bytes(HTML)
    start, seconds = IsolatedParser._start, iter([2, 2, 250])

    def start_with_less_time(parser):
        parser.limits = DocumentLimits(timeout_s=next(seconds))
        start(parser)

    monkeypatch.setattr(IsolatedParser, "_start", start_with_less_time)
    outcomes = list(read_documents(tmp_path, on_error="return", limits=DocumentLimits(timeout_s=250)))
    assert [getattr(o, "code", None) for o in outcomes] == ["parsing-timeout", "parsing-timeout", None]
    assert isinstance(outcomes[0], LimitError)
    assert next(seconds, None) is None, "each had a process of its own"


@LINUX
def test_a_file_that_takes_too_much_memory_is_given_up_and_the_next_is_read(tmp_path):
    (tmp_path / "a.html").write_bytes(b"<p>x</p>" * 1_000_000)
    (tmp_path / "b.html").write_bytes(HTML)
    limits = DocumentLimits(max_memory_bytes=300 * 2**20, timeout_s=250)
    outcomes = list(read_documents(tmp_path, on_error="return", limits=limits))
    assert [getattr(o, "code", None) for o in outcomes] == ["too-much-memory", None]


@pytest.mark.parametrize("suffix", [".pdf", ".html", ".md"])
def test_damaged_files_give_documents_or_errors(tmp_path, suffix):
    """Random damage, the same in every run: nothing but a Document or an InputError comes, for each file, in order."""
    plain = pdf_file(*[[f"Page {i} of the river."] * 5 for i in range(4)], title="T", compress=False)
    packed = pdf_file(*[[f"Page {i} of the river."] * 5 for i in range(4)])
    whole = {".pdf": [plain, packed], ".html": [HTML], ".md": [MARKDOWN.encode()]}[suffix]
    chance = random.Random(7)
    count = 260
    for i in range(count):
        (tmp_path / f"{i:03d}{suffix}").write_bytes(damaged(chance.choice(whole), chance))
    outcomes = list(read_documents(tmp_path, on_error="return", limits=PATIENT))
    assert len(outcomes) == count
    assert [Path(o.source).name for o in outcomes] == [f"{i:03d}{suffix}" for i in range(count)]
    read = [o for o in outcomes if not isinstance(o, InputError)]
    assert 0 < len(read) < count
    for document in read:
        for passage in split(document):
            assert document.text[passage.start : passage.end] == passage.text
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, InputError):
            assert outcome.index == index
            assert outcome.code in {
                "bad-encoding", "corrupt", "empty-file", "empty-text", "encrypted", "no-text", "not-a-document",
                "too-much-memory", "too-many-pages", "too-many-characters",
            }  # fmt: skip
    assert list(read_documents(tmp_path, on_error="skip", limits=PATIENT)) == read


def damaged(data, chance):
    """One to four of: a byte changed, a piece cut out, doubled, blanked or put elsewhere, the end cut off."""
    body = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        a = chance.randrange(len(body) + 1)
        b = min(len(body), a + chance.choice([1, 2, 8, 64, 400]))
        piece = body[a:b]
        how = chance.randrange(7)
        if how == 0 and piece:
            body[a] = chance.randrange(256)
        elif how == 1:
            del body[a:b]
        elif how == 2:
            body[a:a] = piece * chance.choice([1, 2, 50])
        elif how == 3:
            body[a:b] = chance.choice([b" ", b"9", b"<", b"("]) * len(piece)
        elif how == 4:
            c = chance.randrange(len(body) + 1)
            body[c:c] = piece
        elif how == 5:
            body = body.replace(b"%d 0 R" % chance.randint(1, 9), b"%d 0 R" % chance.randint(1, 9))
        elif chance.random() < 0.3:
            del body[a:]
    return bytes(body)


def test_pages_that_lead_in_circles(tmp_path):
    looped = pdf_file(["text"]).replace(b"/Parent 2 0 R", b"/Kids [2 0 R]")
    (tmp_path / "a.pdf").write_bytes(looped)
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf_file(["Hello."])))
    writer.root_object[NameObject("/Pages")] = writer.root_object.indirect_reference
    with (tmp_path / "b.pdf").open("wb") as file:
        writer.write(file)
    outcomes = list(read_documents(tmp_path, on_error="return", limits=PATIENT))
    assert len(outcomes) == 2
    assert all(isinstance(o, InputError) or "Hello" in o.text or "text" in o.text for o in outcomes)


def test_twenty_megabytes_in_a_line(tmp_path):
    line = b"word " * 4_000_000
    document = read_one(tmp_path, "a.txt", line)
    passages = split(document, by="words")
    assert len(passages) == 40_000
    assert passages[-1].end == len(line) - 1
    markdown = read_one(tmp_path, "a.md", b"# T\n" + line)
    assert len(markdown.text) == len(line) + 4
    html = read_one(tmp_path, "a.html", b"<p>" + line)
    assert len(html.text) == len(line) - 1


def folder_of(tmp_path):
    for name in ("b.txt", "a.md", "sub/c.txt", "sub/deep/d.HTML", ".hidden.txt", ".git/x.txt", "e.png", "f.py"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"words of {name}", encoding="utf-8")
    return tmp_path / "docs"


def test_folders_are_searched_in_order(tmp_path):
    folder = folder_of(tmp_path)
    expected = [str(folder / name) for name in ("a.md", "b.txt", "sub/c.txt", "sub/deep/d.HTML")]
    assert list(find_documents(folder)) == expected
    assert [d.source for d in read_documents(str(folder))] == expected
    several = [folder / "sub", folder / ".hidden.txt", folder / "b.txt"]
    assert [Path(d.source).name for d in read_documents(several)] == ["c.txt", "d.HTML", ".hidden.txt", "b.txt"]
    assert list(read_documents([])) == []


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("sub", ["a.md", "b.txt"]),
        (["*.md", "deep/"], ["b.txt", "c.txt"]),
        ("sub/*.txt", ["a.md", "b.txt", "d.HTML"]),
        ("./sub/deep", ["a.md", "b.txt", "c.txt"]),
        ("docs", ["a.md", "b.txt", "c.txt", "d.HTML"]),
        ([], ["a.md", "b.txt", "c.txt", "d.HTML"]),
    ],
)
def test_what_is_excluded_is_not_read(tmp_path, exclude, left):
    folder = folder_of(tmp_path)
    assert [Path(d.source).name for d in read_documents(folder, exclude=exclude)] == left
    assert [Path(p).name for p in find_documents(folder, exclude=exclude)] == left


def test_named_files_may_be_excluded_and_patterns_are_checked(tmp_path):
    folder = folder_of(tmp_path)
    assert [Path(p).name for p in find_documents([folder / "a.md", folder / "b.txt"], exclude="a.*")] == ["b.txt"]
    for bad in (7, "", [None], "/", None):
        with pytest.raises(OptionError, match="exclude is a pattern"):
            find_documents(folder, exclude=bad)


def test_sources_beside_the_pages_made_of_them_are_told(tmp_path):
    (tmp_path / "html" / "_sources").mkdir(parents=True)
    (tmp_path / "html" / "river.html").write_text("<p>The river")
    (tmp_path / "html" / "_sources" / "river.rst.txt").write_text("The river")
    with pytest.warns(
        UserWarning, match=r"html/_sources holds the sources of the HTML pages beside it.*--exclude _sources"
    ):
        assert len(list(read_documents(tmp_path))) == 2
    assert [d.text for d in read_documents(tmp_path, exclude="_sources")] == ["The river"]


def test_data_uris_are_no_words(tmp_path):
    """What they hold is blank, so that offsets stay the file's."""
    code = "A" * 3000 + "/+=="
    before, after = "# A river\n\nIt begins ", " in the hills.\n\n[logo]: <"
    text = f"{before}![spring](data:image/png;base64,{code}){after}data:image/svg+xml;charset=utf-8,%3Csvg%20{code}>\n"
    document = read_one(tmp_path, "a.md", text)
    assert len(document.text) == len(text) and "AAA" not in document.text and document.text.startswith(before)
    assert document.text.index("in the hills") == text.index("in the hills")
    assert "data: a, b" in read_one(tmp_path, "b.md", "The data: a, b and data:, too").text
    passages = split(document)
    assert [" ".join(p.text.split()) for p in passages] == [
        "# A river It begins ![spring",
        "in the hills. [logo]:",
    ]
    for name in ("a.rst", "a.markdown"):
        assert "AAA" not in read_one(tmp_path, name, f"A\n=\n\n.. image:: data:image/png;base64,{code}\n").text


def test_a_bad_file_costs_no_good_one(tmp_path):
    folder = folder_of(tmp_path)
    (folder / "aa.pdf").write_bytes(b"%PDF-1.7 and no more")
    (folder / "sub" / "bad.txt").write_bytes(b"\xff\x00")
    (tmp_path / "none").mkdir()
    paths = [folder, "nowhere.txt", tmp_path / "none", None, folder / "e.png", 3, "nul\0.txt", "x" * 5000 + ".txt"]
    outcomes = list(read_documents(paths, on_error="return"))
    codes = [getattr(o, "code", None) for o in outcomes]
    assert codes == [
        None, "corrupt", None, "not-a-document", None, None,
        "missing-file", "no-documents", "unsupported-type", "unknown-format", "unsupported-type",
        "missing-file", "missing-file",
    ]  # fmt: skip
    assert [o.index for o in outcomes if isinstance(o, InputError)] == [1, 3, *range(6, 13)]
    assert [d.source for d in read_documents(paths, on_error="skip")] == [
        o.source for o in outcomes if not hasattr(o, "code")
    ]
    read = read_documents(paths)
    assert next(read).source == str(folder / "a.md")
    with pytest.raises(InputError, match=r"input 1: .*aa\.pdf"):
        next(read)
    unknown = str(outcomes[9])
    assert all(suffix in unknown for suffix in (".txt", ".rst", ".md", ".html", ".pdf", "'.png'"))
    assert str(folder / "e.png") in unknown
    with pytest.raises(OptionError, match="'raise', 'skip' or 'return'"):
        read_documents(folder, on_error="ignore")


def test_rows_of_passages_are_pointed_to_their_reader(tmp_path):
    with pytest.raises(InputError, match="read_passages") as caught:
        read_one(tmp_path, "corpus.jsonl", b"{}")
    assert caught.value.code == "unknown-format"


@LINUX
def test_links_that_lead_in_circles_and_strange_names(tmp_path):
    folder = folder_of(tmp_path)
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "self.txt").symlink_to(folder / "self.txt")
    (folder / "gone.txt").symlink_to(tmp_path / "nothing.txt")
    (folder / "linked.txt").symlink_to(folder / "b.txt")
    os.mkfifo(folder / "pipe.txt")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.md"))).write_text("words", encoding="utf-8")
    outcomes = {Path(o.source).name: getattr(o, "code", None) for o in read_documents(folder, on_error="return")}
    assert outcomes == {
        "a.md": None, "b.txt": None, "c.txt": None, "d.HTML": None, "linked.txt": None, "\\xff.md": None,
        "self.txt": "unreadable-file", "gone.txt": "missing-file", "pipe.txt": "unreadable-file",
    }  # fmt: skip
    link = tmp_path / "link"
    link.symlink_to(folder / "sub", target_is_directory=True)
    assert [Path(d.source).name for d in read_documents(link)] == ["c.txt", "d.HTML"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_files_without_permission(tmp_path):
    folder = folder_of(tmp_path)
    for name in ("a.md", "b.txt", "sub/deep"):
        (folder / name).chmod(0)
    codes = [getattr(o, "code", None) for o in read_documents(folder, on_error="return")]
    (folder / "sub/deep").chmod(0o700)
    assert codes == ["unreadable-file", "unreadable-file", None, "unreadable-file"]


def test_leaving_early_ends_the_parsing_process(tmp_path):
    for name in ("a.html", "b.html"):
        (tmp_path / name).write_bytes(HTML)
    read = read_documents(tmp_path)
    next(read)
    process = read.gi_frame.f_locals["parser"]._process
    assert process.poll() is None
    read.close()
    assert process.poll() is not None
