"""LexicalIndex against bm25s itself, and against the formula written out in NumPy."""

from __future__ import annotations

import json
import logging
from collections import Counter

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import IndexFileError, InputError, OptionError, UnknownNameError
from sensorium.retrieval.lexical.bm25 import LexicalIndex
from sensorium.retrieval.lexical.files import METHODS
from sensorium.retrieval.lexical.words import search_terms

WORDS = ["river", "hill", "boat", "heron", "mill", "bridge", "sea", "Zürich", "東京", "a", "the", "stone"]
TEXTS = [
    "The heron saw the boat.",
    "The river begins in the hills, north of the mill; the river!",
    "",
    "Boat boat BOAT",
    "…",
    "In Zürich a stone bridge",
    "東京の橋",
    "the the the",
]
TOLERANCE = 1e-5  # float32 rounding of sums


def by_formula(texts, query, *, k1, b, method):
    """`(N,)` float64 scores."""
    counts = [Counter(search_terms(text)) for text in texts]
    lengths = np.array([count.total() for count in counts])
    scores = np.zeros(len(texts))
    for term in search_terms(query):
        f = np.array([count[term] for count in counts], float)
        n, total = (f > 0).sum(), len(texts)
        if n == 0:
            continue
        odds = (total - n + 0.5) / (n + 0.5)
        idf = {"lucene": np.log(1 + odds), "robertson": np.log(max(1, odds)), "atire": np.log(total / n)}[method]
        held = k1 * (1 - b + b * lengths / lengths.mean())
        with np.errstate(invalid="ignore"):
            gain = f * (k1 + 1 if method == "atire" else 1) / (f + held)
        scores += np.where(f > 0, idf * gain, 0)
    return scores


def by_bm25s(texts, query, **options):
    retriever = bm25s.BM25(**options)
    retriever.index([search_terms(text) for text in texts], show_progress=False)
    terms = search_terms(query)
    return retriever.get_scores(terms) if terms else np.zeros(len(texts), np.float32)


def dense(index, query, count):
    """`(N,)` scores; 0 where nothing was found."""
    scores, rows = index.search([query], count)
    found = rows[0] >= 0
    assert np.isneginf(scores[0, ~found]).all()
    assert (np.diff(found.astype(int)) <= 0).all()
    all_of_them = np.zeros(count)
    all_of_them[rows[0, found]] = scores[0, found]
    return all_of_them


texts_of_words = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), min_size=1, max_size=12).filter(
    any
)


@settings(max_examples=60)
@given(
    texts=texts_of_words,
    query=st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=5).map(" ".join),
    k1=st.floats(0, 3),
    b=st.floats(0, 1),
    method=st.sampled_from(METHODS),
)
def test_scores_are_those_of_the_formula_and_of_bm25s(texts, query, k1, b, method):
    index = LexicalIndex.build(texts, k1=k1, b=b, method=method)
    got = dense(index, query, len(texts))
    np.testing.assert_allclose(got, by_formula(texts, query, k1=k1, b=b, method=method), atol=TOLERANCE)
    np.testing.assert_array_equal(got.astype(np.float32), by_bm25s(texts, query, k1=k1, b=b, method=method))


@given(
    texts=texts_of_words,
    query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    k=st.integers(1, 15),
    mask=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_the_best_allowed_rows_ties_by_row(texts, query, k, mask):
    index = LexicalIndex.build(texts)
    allowed = np.array(mask[: len(texts)])
    everything = dense(index, query, len(texts))
    kept = [i for i in range(len(texts)) if allowed[i] and everything[i] > 0]
    expected = sorted(kept, key=lambda i: (-everything[i], i))[:k]
    scores, rows = index.search([query, query], k, allowed=allowed)
    assert scores.shape == rows.shape == (2, k)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    for each, row in zip(scores, rows, strict=True):
        assert row.tolist() == expected + [-1] * (k - len(expected))
        np.testing.assert_array_equal(each[: len(expected)], everything[expected].astype(np.float32))
        assert np.isneginf(each[len(expected) :]).all()


def test_what_is_found():
    index = LexicalIndex.build(iter(TEXTS))
    assert len(index) == 8
    _, rows = index.search(["boat", "RIVER", "zurich", "京", "nothing there", "", "the heron"], 3)
    assert rows.tolist() == [
        [3, 0, -1],
        [1, -1, -1],
        [5, -1, -1],
        [6, -1, -1],
        [-1, -1, -1],
        [-1, -1, -1],
        [0, 7, 1],
    ]
    assert index.search([], 3)[0].shape == (0, 3)


def test_stopwords_count_nowhere():
    plain, without = LexicalIndex.build(TEXTS), LexicalIndex.build(TEXTS, stopwords="en")
    assert plain.search(["the"], 1)[1].tolist() == [[7]]
    assert without.search(["the"], 1)[1].tolist() == [[-1]]
    spaced = [text for text in TEXTS if "京" not in text]
    plain, without = LexicalIndex.build(spaced), LexicalIndex.build(spaced, stopwords="en")
    cut = [" ".join(w for w in search_terms(text) if w not in without.settings.stopwords) for text in spaced]
    expected = LexicalIndex.build(cut)
    np.testing.assert_array_equal(without.search(["the heron saw"], 8)[0], expected.search(["heron saw"], 8)[0])
    own = LexicalIndex.build(TEXTS, stopwords=["Boat", "isn't"])
    assert own.settings.stopwords == ("boat",)
    assert own.search(["boat", "heron"], 1)[1].tolist() == [[-1], [0]]
    assert LexicalIndex.build(["und das Boot"], stopwords="de").search(["und", "Boot"], 1)[1].tolist() == [[-1], [0]]


def test_texts_without_any_term():
    index = LexicalIndex.build(["…", ""])
    assert index.search(["…", "word"], 2)[1].tolist() == [[-1, -1], [-1, -1]]


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("texts", [TEXTS, ["…"]])
def test_saved_and_loaded(tmp_path, mmap, texts):
    index = LexicalIndex.build(texts, k1=0.9, b=0.4, method="atire", stopwords=["saw"])
    names = index.save(tmp_path / "a" / "b")
    assert sorted(names) == sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    LexicalIndex.build(texts, k1=0.9, b=0.4, method="atire", stopwords=["saw"]).save(tmp_path / "again")
    for name in names:
        assert (tmp_path / "a" / "b" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    loaded = LexicalIndex.load(tmp_path / "a" / "b", mmap=mmap)
    assert loaded.settings == index.settings
    assert len(loaded) == len(index)
    queries = ["the heron saw the boat", "東京", "x"]
    for a, b in zip(index.search(queries, 5), loaded.search(queries, 5), strict=True):
        np.testing.assert_array_equal(a, b)
    loaded.save(tmp_path / "resaved")
    assert all((tmp_path / "resaved" / n).read_bytes() == (tmp_path / "again" / n).read_bytes() for n in names)


def write_header(folder, **changes):
    path = folder / "lexical-settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BREAKAGES = {
    "no file": lambda f: (f / "lexical-rows.npy").unlink(),
    "empty": lambda f: (f / "lexical-rows.npy").write_bytes(b""),
    "short": lambda f: (f / "lexical-scores.npy").write_bytes((f / "lexical-scores.npy").read_bytes()[:-4]),
    "no json": lambda f: (f / "lexical-terms.json").write_text("{"),
    "nested json": lambda f: (f / "lexical-terms.json").write_text("[" * 100_000),
    "other terms": lambda f: (f / "lexical-terms.json").write_text('["a"]'),
    "no terms": lambda f: (f / "lexical-terms.json").write_text("[1, 2]"),
    "pickled": lambda f: np.save(f / "lexical-scores.npy", np.array([{}], object), allow_pickle=True),
    "rows beyond": lambda f: np.save(f / "lexical-rows.npy", np.load(f / "lexical-rows.npy") + 7),
    "rows below": lambda f: np.save(f / "lexical-rows.npy", np.load(f / "lexical-rows.npy") - 1),
    "other type": lambda f: np.save(f / "lexical-rows.npy", np.load(f / "lexical-rows.npy").astype(np.int64)),
    "not finite": lambda f: np.save(f / "lexical-scores.npy", np.load(f / "lexical-scores.npy") * np.float32(np.nan)),
    "starts": lambda f: np.save(f / "lexical-starts.npy", np.load(f / "lexical-starts.npy")[::-1].copy()),
    "format": lambda f: write_header(f, format=2),
    "texts": lambda f: write_header(f, texts="8"),
    "k1": lambda f: write_header(f, k1=-1),
    "stopwords": lambda f: write_header(f, stopwords="the"),
}


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("breakage", BREAKAGES)
def test_broken_files_are_not_loaded(tmp_path, breakage, mmap):
    LexicalIndex.build(TEXTS).save(tmp_path)
    LexicalIndex.load(tmp_path)
    BREAKAGES[breakage](tmp_path)
    with pytest.raises(IndexFileError, match="Build it again"):
        LexicalIndex.load(tmp_path, mmap=mmap)


def test_bad_input():
    with pytest.raises(InputError, match="none") as caught:
        LexicalIndex.build([])
    assert caught.value.code == "no-documents"
    for texts, at in (("a text", None), (["a", None], 1), (["a", b"b"], 1)):
        with pytest.raises(InputError) as caught:
            LexicalIndex.build(texts)
        assert (caught.value.code, caught.value.index) == ("not-text", at)
    index = LexicalIndex.build(TEXTS)
    for queries in ("boat", [None]):
        with pytest.raises(InputError):
            index.search(queries, 1)
    for k in (0, -1, True, 1.5):
        with pytest.raises(OptionError, match="k is"):
            index.search(["boat"], k)
    for allowed in (np.ones(7, bool), np.ones(8), np.ones((1, 8), bool)):
        with pytest.raises(OptionError, match="allowed"):
            index.search(["boat"], 1, allowed=allowed)


@pytest.mark.parametrize(
    "options",
    [{"k1": -1}, {"k1": float("nan")}, {"k1": float("inf")}, {"k1": "1"}, {"b": 1.1}, {"b": True}, {"method": "bm25+"}],
)
def test_bad_settings(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        LexicalIndex.build(TEXTS, **options)


def test_bad_stopwords():
    with pytest.raises(UnknownNameError, match="Did you mean 'en'"):
        LexicalIndex.build(TEXTS, stopwords="eng")
    with pytest.raises(OptionError, match="stopwords"):
        LexicalIndex.build(TEXTS, stopwords=[1])


def test_it_is_silent(capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        LexicalIndex.build(TEXTS).search(["boat"], 3)
    assert "".join(capfd.readouterr()) == ""
