"""Hits and SearchResults: what a search found."""

from __future__ import annotations

import datetime
import json
import pickle

import numpy as np
import pytest

from sensorium.results import Hits, SearchResults


def rows(*names):
    return [{"id": i, "text": f"{name} text", "title": name, "source": None} for i, name in enumerate(names)]


def test_reads_like_dicts_and_slices_like_arrays():
    hits = Hits([0, 1, 2], [3.0, 2.0, 1.0], rows("a", "b", "c"), query="q", index=4)
    assert len(hits) == 3 and hits[0] == {"score": 3.0, **rows("a")[0]} and hits[-1]["title"] == "c"
    assert [hit["id"] for hit in hits] == [0, 1, 2]
    kept = hits[hits.scores > 1.5]
    assert kept.ids.tolist() == [0, 1] and kept.query == "q" and kept.index == 4
    assert hits[1:].to_dict() == hits.to_dict()[1:]
    assert pickle.loads(pickle.dumps(hits)).to_dict() == hits.to_dict()


def test_plain_values_in_json(tmp_path):
    row = {"id": np.int64(7), "text": "t", "day": datetime.date(2026, 1, 2), "tags": np.array([1, 2])}
    hits = Hits([7], [0.5], [row])
    hits.save(tmp_path / "hits.json")
    assert json.loads((tmp_path / "hits.json").read_text()) == hits.to_dict()
    assert hits.to_dict() == [{"score": 0.5, "id": 7, "text": "t", "day": "2026-01-02", "tags": [1, 2]}]


def test_lines_tell_title_and_text_or_the_source():
    long = {"id": 1, "text": "word " * 100, "title": "T", "source": "x"}
    image = {"id": 2, "text": "", "title": "", "source": "a.jpg"}
    first, second = Hits([1, 2], [0.25, 0.125], [long, image]).lines()
    assert first.startswith("0.2500  T: word word") and first.endswith("…") and len(first) < 180
    assert second == "0.1250  a.jpg"
    assert Hits([], [], []).lines() == ["nothing found"]
    assert "and 2 more" in repr(Hits(range(6), np.ones(6), rows(*"abcdef")))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="one length"):
        Hits([1, 2], [0.5], rows("a"))


def test_results_of_several_queries():
    hits = [Hits([1], [0.5], rows("a")), Hits([], [], [])]
    found = SearchResults(np.array([[1], [-1]]), np.array([[0.5], [-np.inf]], np.float32), np.array([[0], [-1]]), hits)
    assert len(found) == 2 and found[0] is hits[0] and found[:1] == (hits[0],)
    assert found.passages == [rows("a"), []]
