"""Many equal errors of one file's rows are counted, as a few compressed bytes can hold any number of them."""

from __future__ import annotations

import gzip

from sensorium.retrieval.reading.passage_files import MOST_EQUAL, read_passages


def test_a_small_archive_makes_no_flood(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"1\n" * 200_000 + b'{"text": "good"}\n' + b"[]\n"))
    assert path.stat().st_size < 1000
    outcomes = list(read_passages(path, on_error="return"))
    *listed, good, other, rest = outcomes
    assert len(listed) == MOST_EQUAL
    assert [error.index for error in listed] == list(range(MOST_EQUAL))
    assert good.text == "good"
    assert (other.code, other.index) == ("bad-row", 200_001)
    assert (rest.code, rest.index) == ("bad-row", 199_999)
    assert f"{200_000 - MOST_EQUAL:,} rows more, the last in line 200000: " in rest.message


def test_a_few_are_all_listed(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("1\n" * MOST_EQUAL)
    outcomes = list(read_passages(path, on_error="return"))
    assert [f"line {number}:" in error.message for number, error in enumerate(outcomes, 1)] == [True] * MOST_EQUAL
    assert list(read_passages(path, on_error="skip")) == []
