"""Index.refresh: what is as it was stays, what moved keeps its vector, and what is new alone is encoded."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sensorium.errors import InputError, OptionError
from sensorium.retrieval import Encoder, Index, LexicalIndex, Passage
from tests import tiny_embedding, tiny_text


@pytest.fixture(scope="module")
def encoder():
    return Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", device="cpu", dtype="float32")


@pytest.fixture
def encoded(monkeypatch):
    encoded, encode = [], Encoder.encode_batches
    monkeypatch.setattr(Encoder, "encode_batches", lambda self, p: encoded.extend(p) or encode(self, p))
    return encoded


def passages(count, source="a.md", shift=0, **metadata):
    texts = [tiny_text.words(5, seed=i) + f" {i}" for i in range(count)]
    return [
        Passage(text, title="T", source=source, start=shift + 10 * i, end=shift + 10 * i + 9, metadata=metadata)
        for i, text in enumerate(texts)
    ]


def counts(refreshed):
    return refreshed.kept, refreshed.moved, refreshed.added, refreshed.deleted


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_one_passage_in_front_is_encoded_alone(encoder, encoded, kind, tmp_path):
    index = Index.build(passages(20, tags=("a", "b")), encoder, kind=kind, lexical=True, device="cpu")
    assert counts(index.refresh(passages(20, tags=["a", "b"]))) == (20, 0, 0, 0)
    encoded.clear()
    new = [Passage("a bridge", title="T", source="a.md", start=0, end=8), *passages(20, shift=8, tags=("a", "b"))]
    assert counts(index.refresh(new)) == (0, 20, 1, 0)
    assert len(encoded) == (1 if kind == "exact" else 21), "a graph does not give its vectors back"
    index.save(tmp_path / "i")
    index = Index.load(tmp_path / "i", device="cpu")
    whole = Index.build(new, encoder, kind="exact", device="cpu")
    queries = encoder.encode_queries(["a river", "a bridge"])
    np.testing.assert_allclose(index.search(queries, 21).scores, whole.search(queries, 21).scores, atol=1e-5)
    by_id = {row["id"]: row for row in index.passages(index.ids)}
    assert sorted(by_id) == [*range(20), 20] and by_id[20]["text"] == "a bridge", "ids are kept"
    assert by_id[3]["start"] == 38 and by_id[3]["text"] == passages(4)[3].text
    assert index.search(["bridge"], 1, mode="lexical").ids.tolist() == [[20]]


def test_what_is_changed_and_gone(encoder, encoded):
    index = Index.build([*passages(6), *passages(2, source="b.md")], encoder, kind="exact", device="cpu")
    encoded.clear()
    new = [*passages(4)[1:], Passage("other words", source="a.md"), Passage("more", source="c.md")]
    assert counts(index.refresh(new, where={"source": ["a.md", "c.md"]})) == (3, 0, 2, 3)
    assert len(encoded) == 2 and len(index) == 7
    assert sum(row["source"] == "b.md" for row in index.passages(index.ids)) == 2
    assert counts(index.refresh([], where={"source": "b.md"})) == (0, 0, 0, 2)
    assert counts(index.refresh([])) == (0, 0, 0, 5) and len(index) == 0
    assert counts(index.refresh(passages(3))) == (0, 0, 3, 0) and len(index) == 3


def test_copies_are_counted_one_by_one(encoder, encoded):
    index = Index.build(["a river"] * 3, encoder, device="cpu")
    encoded.clear()
    assert counts(index.refresh(["a river"] * 2)) == (2, 0, 0, 1)
    assert counts(index.refresh(["a river"] * 4)) == (2, 0, 2, 0) and len(encoded) == 2


def test_metadata_are_as_they_were_however_they_are_given(encoder, encoded):
    given = [
        {"text": "a river", "tags": np.array([1, 2]), "depth": float("nan"), "more": {"x": 1}},
        {"text": "a mill", "tags": (3,), "depth": np.float64(2.0), "more": {"y": 2}},
    ]
    index = Index.build(given, encoder, device="cpu")
    encoded.clear()
    for _ in range(2):
        assert counts(index.refresh(given)) == (2, 0, 0, 0) and not encoded
    assert counts(index.refresh([given[0], {**given[1], "depth": float("nan")}])) == (1, 1, 0, 0)


def test_words_are_counted_once_for_the_same_passages(encoder, monkeypatch):
    counted, count = [], LexicalIndex.of_passages
    monkeypatch.setattr(LexicalIndex, "of_passages", lambda texts: counted.append(1) or count(texts))
    index = Index.build(["a river", "a mill", "a bridge"], encoder, lexical=True, device="cpu")
    assert index.search("mill", 1, mode="lexical").ids.tolist() == [[1]]
    index.delete([1])
    assert index.search("mill", 1, mode="lexical").ids.tolist() == [[-1]]
    index.refresh(["a river"])
    assert index.search("river", 1, mode="lexical").ids.tolist() == [[0]] and len(counted) == 1


def test_ids_that_are_given(encoder, encoded):
    index = Index.build([Passage("a river", id="x"), Passage("a mill", id="y")], encoder, kind="exact", device="cpu")
    encoded.clear()
    assert counts(index.refresh([Passage("a mill", id="x"), Passage("a river", id="z")])) == (0, 2, 0, 0)
    assert not encoded and [row["text"] for row in index.passages(["x", "z"])] == ["a mill", "a river"]
    for wrong in (["a river"], [Passage("a", id="x"), Passage("b", id="x")], [Passage("a", id=7)]):
        with pytest.raises(InputError) as caught:
            index.refresh(wrong)
        assert caught.value.code in ("bad-id", "duplicate-id") and len(index) == 2
    with pytest.raises(InputError, match="used twice: 'z'"):
        index.refresh([Passage("b", id="z")], where={"text": "a mill"})
    assert sorted(index.ids.tolist()) == ["x", "z"]


def test_bad_passages_and_arguments(encoder):
    index = Index.build(["a river", "a mill"], encoder, device="cpu")
    with pytest.raises(InputError, match="input 1"):
        index.refresh(["a river", " "])
    told = []
    assert counts(index.refresh(["a river", " ", "a bridge"], on_error=told.append)) == (1, 0, 1, 1)
    assert [error.index for error in told] == [1]
    assert counts(index.refresh(["a river", "\u200b", "a lock"], on_error=told.append)) == (1, 0, 1, 1)
    assert len(index) == 2 and told[-1].code == "empty-text"
    with pytest.raises(OptionError, match="on_error"):
        index.refresh(["a"], on_error="return")
    with pytest.raises(InputError, match="'year'"):
        Index.build([{"text": "a", "year": 1}], encoder).refresh([{"text": "b", "year": "x"}, {"text": "a", "year": 1}])
    pictures = Encoder.from_pretrained(tiny_text.matcher("clip"), device="cpu", dtype="float32")
    made = Index.from_vectors(np.ones((1, pictures.dimension), np.float32), passages=["a.png"], encoder=pictures)
    with pytest.raises(OptionError, match="refresh compares texts"):
        made.refresh([])


def test_others_change_the_index_while_a_refresh_encodes(encoder, monkeypatch):
    """They are not held up, and what they have changed counts; nothing is encoded twice."""
    sizes, encode = [], Encoder.encode_batches
    vectors = np.ones((1, encoder.dimension), np.float32)

    def changed_meanwhile(self, given):
        sizes.append(len(given))
        rows = [Passage("a lock", id=40 + 10 * len(sizes), source="b")]
        other = threading.Thread(target=index.add, args=(rows,), kwargs={"vectors": vectors}, daemon=True)
        other.start()
        other.join(60)
        assert not other.is_alive(), "it waits for the encoding"
        return encode(self, given)

    rows = [Passage("a river", source="a"), Passage("a mill", source="a"), Passage("a weir", source="b")]
    index = Index.build(rows, encoder, kind="exact", device="cpu")
    monkeypatch.setattr(Encoder, "encode_batches", changed_meanwhile)
    given = [rows[0], Passage("a bridge", source="a")]
    assert counts(index.refresh(given, where={"source": "a"})) == (1, 0, 1, 1)
    assert sizes == [1] and sorted(index.ids.tolist()) == [0, 2, 50, 51]
    told = []
    given = [*given, Passage("a ford", id=60, source="a"), " "]
    assert counts(index.refresh(given, where={"source": "a"}, on_error=told.append)) == (2, 0, 0, 0)
    assert sorted(error.code for error in told) == ["duplicate-id", "empty-text"]
