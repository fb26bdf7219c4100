"""retrieval against a NumPy brute force over what the index's encoder makes of passages and queries, in float32."""

from __future__ import annotations

import functools
import json

import numpy as np
import pyarrow.compute as pc
import pytest

import sensorium
from sensorium.errors import InputError, OptionError, TaskMismatchError, UnknownNameError
from sensorium.retrieval import Encoder, Index, LexicalIndex, Passage, Reranker, reciprocal_rank_fusion
from sensorium.tasks.retrieval import Retrieval
from sensorium.tasks.searching.search_task import SearchOptions
from tests import tiny_embedding, tiny_ranking, tiny_text
from tests.contract import Contract
from tests.tiny_text import words

ROUNDING = 2e-5  # float32; a query in a batch of the pipeline, and alone
PASSAGES = [
    Passage(words(4 + i % 9, i), title=words(2, 100 + i % 3), metadata={"year": 1990 + i % 5}) for i in range(40)
]
QUERIES = ["Where is the old boat?", words(6, 7), "river", words(30, 8), "who saw the heron near the bridge?"]


@functools.cache
def encoder(kind="sentences", device="cpu", dtype="float32"):
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = {
        "sentences": lambda: tiny_embedding.sentence_transformer(tiny_embedding.encoder("bert"), Pooling(16)),
        "dpr": lambda: [tiny_embedding.dpr(part) for part in ("question_encoder", "ctx_encoder")][1],
        "minilm": lambda: "starter/text-embedding",
    }[kind]()
    return Encoder.from_pretrained(folder, device=device, dtype=dtype)


@functools.cache
def index(kind="sentences", device="cpu", dtype="float32"):
    return Index.build(PASSAGES, encoder(kind, device, dtype), lexical=True, device=device)


def ours(kind="sentences", *, device="cpu", dtype="float32", **settings):
    """A pipeline; the index's encoder has the device and the dtype."""
    return sensorium.pipeline("retrieval", index=index(kind, device, dtype), **{"compile": False, **settings})


def expected(kind, queries=QUERIES, *, allowed=None, k=10):
    """Ids and scores of a scan of all vectors in float64."""
    pairs = [(p.title, p.text) for p in PASSAGES]
    x, q = encoder(kind).encode(pairs).astype(np.float64), encoder(kind).encode_queries(queries).astype(np.float64)
    products = q @ x.T
    if allowed is not None:
        products[:, ~np.asarray(allowed)] = -np.inf
    ids = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(products, ids, axis=1)


@pytest.mark.parametrize("kind", ["sentences", "dpr", "minilm"])
def test_equals_a_brute_force(kind):
    ids, scores = expected(kind)
    with ours(kind, batch_size=2) as pipe:
        found = pipe(QUERIES)
    for i, hits in enumerate(found):
        assert (hits.index, hits.query) == (i, QUERIES[i])
        assert hits.ids.tolist() == ids[i].tolist()
        np.testing.assert_allclose(hits.scores, scores[i], atol=ROUNDING * np.abs(scores).max())
        assert [p["text"] for p in hits.passages] == [PASSAGES[row].text for row in ids[i]]
        assert [p["year"] for p in hits.passages] == [PASSAGES[row].metadata["year"] for row in ids[i]]
    assert len({tuple(hits.ids.tolist()) for hits in found}) > 1, "queries are told apart"


def test_equals_the_index_s_own_search():
    with ours() as pipe:
        for options in ({}, {"mode": "lexical"}, {"mode": "hybrid"}, {"where": {"year": [1990, 1993]}}):
            together = index().search(QUERIES, 7, **options)
            for hits, one in zip(pipe(QUERIES, top_k=7, **options), together, strict=True):
                assert hits.ids.tolist() == one.ids.tolist()
                np.testing.assert_allclose(hits.scores, one.scores, atol=ROUNDING)


def test_top_k_and_what_there_is():
    with ours() as pipe:
        assert [len(hits) for hits in pipe(QUERIES[:2], top_k=3)] == [3, 3]
        everything = pipe(QUERIES[0], top_k=99)
        assert sorted(everything.ids.tolist()) == list(range(len(PASSAGES)))
        assert len(pipe(QUERIES[0], where={"year": 1800})) == 0
        assert pipe(QUERIES[0], where={"year": 1800}).lines() == ["nothing found"]


@pytest.mark.parametrize("where", [{"year": 1991}, {"year": [1991, 1994]}, pc.field("year") > 1992])
def test_only_what_is_asked_for_is_found(where):
    years = np.array([p.metadata["year"] for p in PASSAGES])
    allowed = years > 1992 if isinstance(where, pc.Expression) else np.isin(years, where["year"])
    ids, _ = expected("sentences", allowed=allowed, k=int(allowed.sum()))
    with ours() as pipe:
        found = pipe(QUERIES, top_k=len(PASSAGES), where=where)
    assert [hits.ids.tolist() for hits in found] == ids.tolist()


def test_words_and_both():
    texts = [f"{p.title}\n{p.text}" for p in PASSAGES]
    _, by_words = LexicalIndex.build(texts).search(QUERIES, 40)
    by_vectors, _ = expected("sentences", k=40)
    scores, both = reciprocal_rank_fusion([by_vectors, by_words], k=10)
    with ours() as pipe:
        lexical, hybrid = pipe(QUERIES, mode="lexical"), pipe(QUERIES, mode="hybrid")
    for i in range(len(QUERIES)):
        assert lexical[i].ids.tolist() == [row for row in by_words[i, :10].tolist() if row >= 0]
        assert hybrid[i].ids.tolist() == both[i].tolist()
        np.testing.assert_allclose(hybrid[i].scores, scores[i], rtol=1e-6)


def test_a_reranker_orders_the_best_anew():
    folder = tiny_ranking.ranker("bert")
    texts = [f"{p.title}\n{p.text}" for p in PASSAGES]
    with Reranker.from_pretrained(folder, device="cpu", dtype="float32", compile=False) as reranker, ours() as pipe:
        wanted = reranker.rerank(QUERIES, [texts] * len(QUERIES))
        found = pipe(QUERIES, top_k=5, reranker=reranker)
        for hits, (order, scores) in zip(found, wanted, strict=True):
            np.testing.assert_allclose(hits.scores, scores[:5], atol=ROUNDING)
            assert hits.ids.tolist() == order[:5].tolist()
        few = pipe(QUERIES[0], where={"year": 1991}, reranker=reranker)
        assert {p["year"] for p in few.passages} == {1991}
        assert (np.diff(few.scores) <= 0).all()


def test_an_index_that_changes_is_searched_as_it_is():
    made = Index.build(PASSAGES[:5], encoder())
    with sensorium.pipeline("retrieval", index=made, compile=False) as pipe:
        made.add([Passage("the old boat", title="Where is it?")])
        assert len(pipe("Where is the old boat?")) == 6
        made.delete([5, 0])
        assert sorted(pipe("Where is the old boat?").ids.tolist()) == [1, 2, 3, 4]


def test_a_loaded_index_opens_its_encoder(tmp_path):
    index("minilm").save(tmp_path / "i")
    again = Index.load(tmp_path / "i", device="cpu")
    with sensorium.pipeline("retrieval", index=again, compile=False) as pipe, ours("minilm") as before:
        assert pipe(QUERIES[0]).ids[0] == before(QUERIES[0]).ids[0]
        assert pipe(QUERIES[0]).scores[0] == pytest.approx(float(before(QUERIES[0]).scores[0]), abs=0.02)  # bfloat16


def test_what_cannot_be_searched():
    vectors = np.eye(4, dtype=np.float32)
    for wrong, said in [
        ({"index": None}, "index is an Index"),
        ({"index": "folder"}, r"Index\.load\(folder\)"),
        ({"index": Index.from_vectors(vectors)}, "has no encoder"),
        ({"index": index(), "model": "starter/text-embedding"}, "model has no meaning for retrieval"),
        ({"index": index(), "reader": "x"}, "reader is for retrieval-qa, not for retrieval"),
        ({"index": index(), "processor": "x"}, "processor has no meaning"),
        ({"index": index(), "device": "cpu"}, "device has no meaning"),
        ({"index": index(), "dtype": "float32"}, "dtype has no meaning"),
        ({"index": index(), "revision": "main"}, "revision has no meaning"),
        ({"index": index(), "limits": sensorium.MediaLimits()}, "limits has no meaning"),
    ]:
        with pytest.raises(OptionError, match=said):
            sensorium.pipeline("retrieval", **wrong)
    with pytest.raises(OptionError, match=r"index is for .*retrieval-qa, not for image-classification"):
        sensorium.pipeline("image-classification", "starter/image-classification", index=index())
    with pytest.raises(OptionError, match="no task"):
        sensorium.pipeline(index=index())


@pytest.mark.parametrize("task", ["image-retrieval", "audio-retrieval"])
def test_an_index_of_texts_is_for_this_task(task):
    with pytest.raises(OptionError, match=r"the index holds text; .*Use 'retrieval'"):
        sensorium.pipeline(task, index=index())


def test_no_checkpoint_fits_and_no_module_is_taken():
    import torch

    with pytest.raises(TaskMismatchError, match="pass index=…, and no model"):
        Retrieval.load(None)
    with pytest.raises(TaskMismatchError, match="pass index=…, and no model"):
        Retrieval.wrap(torch.nn.Linear(2, 2), None)
    with sensorium.pipeline(model=tiny_ranking.ranker("bert"), device="cpu", compile=False) as pipe:
        assert pipe.task.name == "text-ranking", "a search task is never guessed"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 0}, "top_k is a whole number from 1"),
        ({"top_k": None}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"mode": "words"}, 'mode is one of "dense", "lexical", "hybrid"'),
    ],
)
def test_bad_options_fail_before_any_work(options, said):
    with ours() as pipe:
        with pytest.raises(OptionError, match=said):
            pipe(QUERIES, **options)
        assert pipe.stats()["inputs"] == 0


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"where": {"yaer": 1990}}, UnknownNameError, "Did you mean 'year'"),
        ({"where": {"year": "x"}}, OptionError, "year holds whole numbers"),
        ({"where": 7}, OptionError, "where is a mapping"),
        ({"where": pc.field("yaer") > 1990}, OptionError, "does not suit the passages"),
        ({"where": pc.field("year") > "x"}, OptionError, "does not suit the passages"),
        ({"reranker": "cross-encoder"}, OptionError, "reranker is a Reranker, got str"),
    ],
)
def test_a_filter_that_does_not_suit_the_passages_is_an_option_s_fault(options, error, said):
    with ours() as pipe:
        with pytest.raises(error, match=said):
            pipe(QUERIES, on_error="skip", **options)
        assert pipe.stats()["inputs"] == 0


def test_words_of_an_index_without_them():
    made = Index.build(PASSAGES[:3], encoder())
    with sensorium.pipeline("retrieval", index=made, compile=False) as pipe:
        for mode in ("lexical", "hybrid"):
            with pytest.raises(OptionError, match="lexical=True"):
                pipe("Where?", mode=mode)
        assert pipe.stats()["inputs"] == 0


@pytest.mark.parametrize(
    ("bad", "code"),
    [(" ", "empty-text"), ("", "empty-text"), (None, "not-text"), (3, "not-text"), (b"Where?", "not-text")],
)
def test_bad_queries(bad, code):
    with ours() as pipe:
        first, error, last = pipe([QUERIES[0], bad, QUERIES[1]], on_error="return")
    assert isinstance(error, InputError)
    assert (error.code, error.index) == (code, 1)
    assert [first.index, last.index] == [0, 2]


def test_a_result_is_saved_as_it_reads(tmp_path):
    with ours() as pipe:
        hits = pipe(QUERIES[0], top_k=2)
    hits.save(tmp_path / "hits.json")
    rows = json.loads((tmp_path / "hits.json").read_text(encoding="utf-8"))
    assert rows == hits.to_dict()
    assert rows[0] == {"score": float(hits.scores[0]), **PASSAGES[hits.ids[0]].to_dict(), "id": int(hits.ids[0])}


def test_defaults():
    assert SearchOptions() == SearchOptions(top_k=10, where=None, mode="dense", reranker=None)


CONTRACT = Contract(
    build=ours,
    inputs=lambda: [*QUERIES, tiny_text.words(80, 9)],
    bad=["", None, 3, b"Where?"],
    options=[{"top_k": 3}, {"mode": "hybrid", "top_k": 5}, {"mode": "lexical"}, {"where": {"year": [1990, 1993]}}],
    tolerance=ROUNDING,
)
