"""Passages and documents hold what they are given, or say what is wrong with it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import pickle

import pytest

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.retrieval.reading.passage_files import LONGEST_LINE, read_passages
from sensorium.retrieval.reading.passages import LONGEST, RESERVED, Document, Heading, Passage


def test_a_passage_holds_what_it_is_given():
    metadata = {"year": 1808}
    passage = Passage("Text", "Faust", "a.txt", 3, 7, "x1", metadata)
    metadata["year"] = 0
    assert passage.metadata == {"year": 1808}
    assert pickle.loads(pickle.dumps(passage)) == passage
    given = {"id": "x1", "text": "Text", "title": "Faust", "source": "a.txt", "start": 3, "end": 7, "year": 1808}
    assert passage.to_dict() == given
    assert Passage("Text").to_dict() == {**dict.fromkeys(RESERVED), "text": "Text", "title": ""}
    with pytest.raises(dataclasses.FrozenInstanceError):
        passage.text = "other"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"text": ""}, "empty-text"),
        ({"text": " \n\t\u3000"}, "empty-text"),
        ({"text": None}, "not-text"),
        ({"text": b"bytes"}, "not-text"),
        ({"text": "half \ud800"}, "not-text"),
        ({"title": None}, "not-text"),
        ({"title": "\udc80"}, "not-text"),
        ({"source": 3}, "not-text"),
        ({"source": "\udcff.txt"}, "not-text"),
        ({"start": 3}, "bad-offsets"),
        ({"end": 3}, "bad-offsets"),
        ({"start": -1, "end": 3}, "bad-offsets"),
        ({"start": 4, "end": 3}, "bad-offsets"),
        ({"start": 0.0, "end": 3}, "bad-offsets"),
        ({"start": False, "end": 3}, "bad-offsets"),
        ({"id": 1.0}, "bad-id"),
        ({"id": True}, "bad-id"),
        ({"id": "\ud800"}, "not-text"),
        ({"metadata": [1]}, "bad-metadata"),
        ({"metadata": {1: 2}}, "bad-metadata"),
        *(({"metadata": {name: 1}}, "bad-metadata") for name in RESERVED),
    ],
)
def test_what_no_passage_can_be_is_refused(fields, code):
    with pytest.raises(InputError) as caught:
        Passage(**{"text": "Text", **fields})
    assert caught.value.code == code


def test_ten_megabytes_are_no_passage():
    Passage("x" * LONGEST)
    with pytest.raises(LimitError, match=r"at most 1,000,000 characters, got 10,000,000.*split") as caught:
        Passage("x" * 10_000_000, source="big.txt")
    assert (caught.value.code, caught.value.source) == ("passage-too-long", "big.txt")


@pytest.mark.parametrize(
    "fields",
    [
        {"start": 5},
        {"start": -1},
        {"pages": (0, 5)},
        {"pages": (2, 1)},
        {"headings": (Heading(0, 5, 1, ""),)},
        {"headings": (Heading(0, 3, 1, ""), Heading(2, 4, 1, ""))},
        {"start": 1, "headings": (Heading(0, 3, 1, ""),)},
    ],
)
def test_a_documents_places_are_in_its_text_and_in_order(fields):
    with pytest.raises(InputError) as caught:
        Document("Text", **fields)
    assert caught.value.code == "bad-offsets"


DPR = 'id\ttext\ttitle\n1\t"Aaron is a ""prophet"", high priest."\tAaron\n2\tplain text, 5" wide\t"A ""B"""\n'


@pytest.mark.parametrize("compressed", [False, True])
def test_dprs_file_of_passages(tmp_path, compressed):
    path = tmp_path / ("psgs_w100.tsv" + ".gz" * compressed)
    path.write_bytes(gzip.compress(DPR.encode()) if compressed else DPR.encode())
    first, second = read_passages(path)
    assert first == Passage('Aaron is a "prophet", high priest.', "Aaron", str(path), id="1")
    assert second == Passage('plain text, 5" wide', 'A "B"', str(path), id="2")


def test_beirs_corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    rows = [
        {"_id": "4983", "title": "Water", "text": "Diffusion", "metadata": {"url": "x"}},
        {"_id": 7, "title": "", "text": "Größe", "metadata": {}, "year": 2001},
        Passage("Text", "T", "s.pdf", 2, 6, "p", {"page": 3}).to_dict(),
    ]
    path.write_text("\ufeff" + "\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    assert list(read_passages(path)) == [
        Passage("Diffusion", "Water", str(path), id="4983", metadata={"url": "x"}),
        Passage("Größe", "", str(path), id=7, metadata={"year": 2001}),
        Passage("Text", "T", "s.pdf", 2, 6, "p", {"page": 3}),
    ]


BAD_ROWS = {
    "bad-row": [
        b"[1]",
        b'{"text": "x", "year": NaN}',
        b'{"text": "x", "year": 1e999}',
        b'{"text": "x", "metadata": {"years": [-1e999]}}',
        b"{",
        b"{}",
        b'{"id": 1, "_id": 1, "text": "x"}',
        b'{"text": "x", "metadata": 3}',
        b'{"text": "x", "a": 1, "metadata": {"a": 2}}',
        b"[" * 100_000,
        b'{"id": ' + b"9" * 5000 + b', "text": "x"}',
    ],
    "bad-encoding": [b'{"text": "\xff"}'],
    "empty-text": [b'{"text": " "}'],
    "not-text": [b'{"text": 3}', b'{"text": "\\ud800"}'],
    "bad-id": [b'{"text": "x", "id": [1]}'],
    "bad-offsets": [b'{"text": "x", "start": 1.5, "end": 2}'],
    "passage-too-long": [b'{"text": "' + b"x" * (LONGEST + 1) + b'"}'],
    "too-many-bytes": [b'{"text": "' + b"x" * 20_000_000 + b'"}', b'{"text": "' + b"x" * LONGEST_LINE + b'"}'],
}


@pytest.mark.parametrize(("code", "row"), [(code, row) for code, rows in BAD_ROWS.items() for row in rows])
def test_a_bad_row_costs_no_good_one(tmp_path, code, row):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "one"}\n' + row + b'\n{"text": "two"}\n')
    first, bad, last = read_passages(path, on_error="return")
    assert (first.text, last.text) == ("one", "two")
    assert (bad.code, bad.index, bad.source) == (code, 1, str(path))
    assert "line 2: " in str(bad)
    assert [p.text for p in read_passages(path, on_error="skip")] == ["one", "two"]
    rows = read_passages(path)
    assert next(rows).text == "one"
    with pytest.raises(InputError):
        next(rows)


def test_bad_rows_of_columns(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text('text\tid\none\t1\nno id\n"open\t2\n"a" b\t3\n\t4\ntwo\t5\n', encoding="utf-8")
    outcomes = list(read_passages(path, on_error="return"))
    assert [getattr(o, "code", None) for o in outcomes] == [None, "bad-row", "bad-row", "bad-row", "empty-text", None]
    assert "expected 2 values, text, id, got 1" in str(outcomes[1])


def test_files_that_hold_no_passages(tmp_path):
    def code(name, data):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            list(read_passages(path, on_error="skip"))
        assert caught.value.source == str(path)
        return caught.value.code

    assert code("none.tsv", None) == "missing-file"
    assert code("empty.tsv", b"") == "empty-file"
    assert code("other.csv", b"id,text") == "unknown-format"
    assert code("no_header.tsv", b"1\tSome\tTitle\n") == "bad-header"
    assert code("nothing.tsv.gz", gzip.compress(b"")) == "bad-header"
    assert code("twice.tsv", b"text\ttext\n") == "bad-header"
    assert code("binary.tsv", b"\xff\xfe\x00") == "bad-header"
    assert code("no.jsonl.gz", b"no gzip at all") == "corrupt"
    assert code("cut.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9)[:-9]) == "corrupt"
    with pytest.raises(OptionError):
        read_passages(tmp_path / "none.tsv", on_error="ignore")
