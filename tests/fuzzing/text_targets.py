"""Documents, rows of passages, and questions."""

from __future__ import annotations

import functools
import gzip

from sensorium.cli.indexes.questions import read_questions
from sensorium.errors import SensoriumError
from sensorium.retrieval.reading.documents import read_documents
from sensorium.retrieval.reading.formats.decoding import Coding
from sensorium.retrieval.reading.formats.html import read_html
from sensorium.retrieval.reading.formats.man import read_man
from sensorium.retrieval.reading.formats.markdown import read_markdown
from sensorium.retrieval.reading.passage_files import read_passages
from sensorium.retrieval.reading.splitting import split, split_sentences
from tests.fuzzing.target import NUMBERS, Target, on_disk, picked

JSON_ROWS = b"""\xef\xbb\xbf{"_id": "a", "text": "one", "title": "T", "start": 0, "end": 3, "metadata": {"x": 1}}

{"text": "two", "source": null, "year": 1e3, "tags": ["a"]}
"""
TABLE = b'id\ttext\ttitle\n1\t"say ""hi""\tthere"\tT\n2\tplain\t\n'
QUESTIONS = b"""{"question": "who?", "answers": ["x"], "relevant": {"1": 2}}
{"question": "?", "answers": ["y"], "relevant": [1]}
"""
ROW_SUFFIXES = [".jsonl", ".tsv", ".jsonl.gz", ".tsv.gz"]

RST = b"=====\nTitle\n=====\n\nwords. More words!\n\nPart\n----\n\n- an item\n\ndata:image/png;base64,AAAA\n"
MAN = b""".\\" a comment
.TH LS 1 "today"
.SH NAME
ls \\- list \\(co \\*(lq\\fBx\\fP\\s-2y\\u0041 \\[u00e9] \\C'aq'
.de XX
.if n \\{ .B hidden
..
.Op Fl v Ar file , Xr ls 1
.nf
a\tb
.fi
.IP \\(bu 2
.TP
.B -a
.ds x "string
.It Fl x Ns Ar y
"""
MARKDOWN = b"""---
title: 'A'
---
# One *two*

words [a](data:image/png;base64,AA "t")

> ## no

| a | b |
|---|---|
"""
HTML = b"""<html><head><meta charset=latin-1><title>T&amp;x</title></head><body><main><h1>A <b>b</b></h1>
<p>x<sub>2</sub><sup><a href=#n>1</a></sup><ul><li>one<li>two</ul><table><tr><td>a<td>b</table><q>said</q><pre> x
 y</pre><math><mfrac><mi>a</mi><msup><mi>b</mi><mn>2</mn></msup></mfrac></math><p style="display:none">no</main>"""


def passages(data: bytes) -> None:
    suffix, rest = picked(data, ROW_SUFFIXES)
    for _ in read_passages(on_disk(f"rows{suffix}", rest), on_error="return"):
        pass


def rows():
    yield from (b"\0" + JSON_ROWS, b"\1" + TABLE)
    for i, content in ((2, JSON_ROWS), (3, TABLE), (3, b"")):
        yield bytes([i]) + gzip.compress(content, mtime=0)


def text(data: bytes) -> None:
    """A text that is read in the process itself, and cut into passages."""
    suffix, rest = picked(data, [".txt", ".rst"])
    for document in read_documents(on_disk(f"document{suffix}", rest)):
        for _ in (*split(document), *split(document, by="words")):
            pass


def parsed(read, data: bytes) -> None:
    """A document that is read in a process of its own, where all that a parser raises is one error."""
    document = read(data, name="x", coding=Coding())
    for _ in split_sentences(document):
        pass


BY_PARSERS = (SensoriumError, Exception)
MARKS = (b"\n.SH ", b"\n.de ", b"\n.if n ", b"\\{", b"\\}", b"\\*(", b"\\[u", b"\n.nf", b"\n.Op ", b"\n.It ")
TAGS = (b"<table>", b"<td>", b"<sup>", b"<math>", b"<mfrac>", b"<q>", b"<li>", b"<pre>", b"<!--", b"<![CDATA[", b"&#")

TARGETS = {
    "passage-rows": Target(passages, rows, words=(*NUMBERS, b'"text"', b'"_id"', b'"metadata"', b"\t", b'""', b"\r")),
    "questions": Target(
        lambda data: read_questions(str(on_disk("questions.jsonl", data))),
        lambda: [QUESTIONS],
        words=(*NUMBERS, b'"question"', b'"answers"', b'"relevant"'),
    ),
    "texts": Target(
        text,
        lambda: [b"\0" + RST, b"\1" + RST, "\1Ü\n==\n。」 a.b. c".encode(), b"\0\xff\xfea\0"],
        words=(b"\n===\n", b"\n---\n", b"data:a/b;base64,", b". ", b"\n\n", b"\xe3\x80\x82", b"\xef\xbb\xbf"),
    ),
    "manual-pages": Target(functools.partial(parsed, read_man), lambda: [MAN], words=MARKS),
    "markdown": Target(functools.partial(parsed, read_markdown), lambda: [MARKDOWN], BY_PARSERS),
    "html": Target(functools.partial(parsed, read_html), lambda: [HTML], BY_PARSERS, words=TAGS),
}  # fmt: skip
