"""Reranker against the cross-encoder that it runs."""

from __future__ import annotations

import numpy as np
import pytest

import sensorium
from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.retrieval.reranking import Reranker
from tests import tiny_ranking, tiny_text
from tests.tasks.test_text_ranking import PARITY, reference

QUERIES = ["Where is the boat?", "river", "Who saw the heron?", "hill"]
PASSAGES = [
    [tiny_text.words(n, n) for n in (3, 9, 200, 14)],
    [],
    (tiny_text.words(5, 1), tiny_text.words(6, 2)),
    [tiny_text.words(5, 3)],
]
CPU = {"device": "cpu", "dtype": "float32", "compile": False}


def test_orders_are_those_of_the_cross_encoder():
    encoder = reference(tiny_ranking.ranker("bert"))
    with Reranker.from_pretrained(tiny_ranking.ranker("bert"), batch_size=4, **CPU) as reranker:
        found = reranker.rerank(QUERIES, PASSAGES)
        for query, passages, (order, scores) in zip(QUERIES, PASSAGES, found, strict=True):
            assert (order.dtype, scores.dtype) == (np.int64, np.float32)
            expected = encoder.rank(query, list(passages)) if passages else []
            assert order.tolist() == [row["corpus_id"] for row in expected]
            np.testing.assert_allclose(scores, [row["score"] for row in expected], atol=PARITY)
        for whole, best in zip(found, reranker.rerank(QUERIES, PASSAGES, top_k=2), strict=True):
            assert best[0].tolist() == whole[0][:2].tolist()
        assert reranker.rerank([], []) == []


def test_pairs_of_all_queries_share_batches():
    with Reranker.from_pretrained(tiny_ranking.ranker("bert"), batch_size=16, **CPU) as reranker:
        reranker.rerank(["river"] * 8, [[PASSAGES[2][0]] * 2] * 8)
        assert reranker.pipeline.stats()["batches"] <= 3  # a batch may be launched before it is full


def test_a_loaded_pipeline_is_taken():
    with sensorium.pipeline("text-ranking", tiny_ranking.ranker("bert"), **CPU) as pipe:
        order, _ = Reranker(pipe).rerank(QUERIES[:1], PASSAGES[:1])[0]
        assert order.tolist() == pipe(QUERIES[0], PASSAGES[0], truncation=True).order.tolist()
    with (
        sensorium.pipeline("question-answering", tiny_text.reader("bert"), **CPU) as other,
        pytest.raises(OptionError, match="question-answering"),
    ):
        Reranker(other)


def test_bad_input():
    with Reranker.from_pretrained(tiny_ranking.ranker("bert"), **CPU) as reranker:
        for queries, passages, code in (
            (["a", "b", ""], [["c"], [], ["d"]], "empty-text"),
            (["a", "b", "c"], [["c"], [], ["d", " "]], "empty-text"),
            (["a", "b", "c"], [["c"], [], ["d", None]], "not-text"),
            (["a", "b", "c"], [["c"], [], "d"], "unsupported-type"),
        ):
            with pytest.raises(InputError, match="input 2") as caught:
                reranker.rerank(queries, passages)
            assert (caught.value.code, caught.value.index) == (code, 2)
        for queries, passages in (("a", [["b"]]), (["a"], "b"), (["a"], [["b"], ["c"]])):
            with pytest.raises(OptionError):
                reranker.rerank(queries, passages)
        with pytest.raises(OptionError, match="top_k"):
            reranker.rerank(["a"], [["b"]], top_k=0)
    with pytest.raises(UnknownNameError, match="Did you mean 'device'"):
        Reranker.from_pretrained(tiny_ranking.ranker("bert"), devices="cpu")
