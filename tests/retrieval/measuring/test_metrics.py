"""Measures of rankings by hand, against their definitions, and against scikit-learn's nDCG."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from sensorium.errors import InputError, OptionError
from sensorium.retrieval import Index, Passage
from sensorium.retrieval.measuring import evaluate, mean_reciprocal_rank, ndcg, recall_at_k, top_k_accuracy

RANKED = [[3, 1, 2], ["b", "a"], []]
RELEVANT = [{1, 9}, ["a"], [5]]


def test_by_hand():
    assert recall_at_k(RANKED, RELEVANT, k=1) == 0
    assert recall_at_k(RANKED, RELEVANT, k=2) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert mean_reciprocal_rank(RANKED, RELEVANT) == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert mean_reciprocal_rank(RANKED, RELEVANT, k=1) == 0
    best = 1 + 1 / math.log2(3)
    assert ndcg(RANKED, RELEVANT) == pytest.approx((1 / math.log2(3) / best + 1 / math.log2(3) + 0) / 3)
    graded = [{"a": 3, "b": 1, "c": 0}]
    dcg = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert ndcg([["b", "a", "c"]], graded) == pytest.approx(dcg)
    assert ndcg([["b", "a"]], graded, gain="exponential") == pytest.approx(
        (1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3))
    )
    assert ndcg([["b", "a"]], graded, k=1) == pytest.approx(1 / 3)
    assert recall_at_k([["c"]], graded, k=1) == 0  # grade 0 is not relevant


def test_arrays_with_places_left_empty():
    ranked = np.array([[4, 2, -1], [-1, -1, -1]])
    assert mean_reciprocal_rank(ranked, [np.array([2]), {4}]) == 0.25
    assert recall_at_k(ranked, [[4, 2], [1]], k=2) == 0.5


@st.composite
def graded_rankings(draw):
    """`(Q, n)` grades of all n ids of each query, and `(Q, n)` the order in which they were found."""
    queries, count = draw(st.integers(1, 4)), draw(st.integers(2, 8))
    grades = [draw(st.lists(st.integers(0, 4), min_size=count, max_size=count).filter(any)) for _ in range(queries)]
    return grades, [draw(st.permutations(range(count))) for _ in range(queries)]


@given(case=graded_rankings(), k=st.integers(1, 10))
def test_ndcg_is_scikit_learn_s(case, k):
    grades, ranked = case
    scores = np.zeros((len(grades), len(grades[0])))
    for row, ids in zip(scores, ranked, strict=True):
        row[ids] = np.arange(len(ids), 0, -1)
    relevant = [dict(enumerate(row)) for row in grades]
    assert ndcg(ranked, relevant, k=k) == pytest.approx(ndcg_score(grades, scores, k=k))
    assert ndcg(ranked, relevant) == pytest.approx(ndcg_score(grades, scores))
    powers = 2.0 ** np.array(grades) - 1
    assert ndcg(ranked, relevant, k=k, gain="exponential") == pytest.approx(ndcg_score(powers, scores, k=k))


@given(case=graded_rankings(), k=st.integers(1, 9))
def test_measures_are_what_they_are_defined_as_and_never_fall_with_k(case, k):
    grades, ranked = case
    relevant = [dict(enumerate(row)) for row in grades]
    sets = [{i for i, grade in row.items() if grade} for row in relevant]
    recalls = [len(right & set(ids[:k])) / len(right) for right, ids in zip(sets, ranked, strict=True)]
    ranks = [min(ids.index(i) for i in right) + 1 for right, ids in zip(sets, ranked, strict=True)]
    assert recall_at_k(ranked, relevant, k=k) == pytest.approx(np.mean(recalls))
    assert recall_at_k(ranked, sets, k=k) == recall_at_k(ranked, relevant, k=k)
    expected = np.mean([1 / rank if rank <= k else 0 for rank in ranks])
    assert mean_reciprocal_rank(ranked, relevant, k=k) == pytest.approx(expected)
    for measure in (recall_at_k, mean_reciprocal_rank):
        assert 0 <= measure(ranked, relevant, k=k) <= measure(ranked, relevant, k=k + 1) <= 1
    assert 0 <= ndcg(ranked, relevant, k=k) <= 1 + 1e-12
    ideal = [sorted(row, key=row.get, reverse=True) for row in relevant]
    assert ndcg(ideal, relevant, k=k) == pytest.approx(1)


PASSAGES = [["The river", "Goethe wrote Faust", "Goethe"], ["a", "b"], []]
ANSWERS = [["goethe", "Johann"], ["b"], ["c"]]


def test_top_k_accuracy():
    assert [top_k_accuracy(PASSAGES, ANSWERS, k=k) for k in (1, 2, 3, 9)] == pytest.approx([0, 2 / 3, 2 / 3, 2 / 3])
    assert top_k_accuracy([["in 1808"]], [[r"\d{4}"]], k=1, match="regex") == 1


@pytest.mark.parametrize("listed", [lambda ids: ids, lambda ids: ids.tolist(), list, lambda ids: ids.astype(object)])
@pytest.mark.parametrize("ids", [["b", "a"], [7, 3]])
def test_what_a_search_found_is_measured_as_it_came(ids, listed):
    """Also where fewer were found than asked for, and places are left that no passage has."""
    rows = [Passage("a river", id=ids[0]), Passage("a mill", id=ids[1])]
    index = Index.from_vectors(np.eye(2, dtype=np.float32), passages=rows)
    found = index.search(np.eye(2, dtype=np.float32), k=5)
    assert found.ids.shape == (2, 5)
    assert recall_at_k(listed(found.ids), [[ids[0]], [ids[0]]], k=1) == 0.5
    assert mean_reciprocal_rank(listed(found.ids), [[ids[0]], [ids[0]]]) == 0.75
    assert evaluate(ranked=listed(found.ids), relevant=[{ids[0]: 2}, np.array(ids[1:])], k=5)["ndcg@5"] == 1


def test_queries_may_have_ids_of_different_kinds():
    assert recall_at_k([[1, 2], ["1", "2"], []], [[1], ["1"], ["1"]], k=1) == pytest.approx(2 / 3)


def test_evaluate_takes_one_cut():
    assert evaluate(ranked=RANKED, relevant=RELEVANT, k=2) == evaluate(ranked=RANKED, relevant=RELEVANT, k=[2])
    assert list(evaluate(ranked=RANKED, relevant=RELEVANT, k=np.int64(2))) == ["recall@2", "mrr@2", "ndcg@2"]
    assert list(evaluate(ranked=RANKED, relevant=RELEVANT, k=np.array([2]))) == ["recall@2", "mrr@2", "ndcg@2"]


def test_evaluate_gives_all_that_can_be_had():
    got = evaluate(ranked=RANKED, relevant=RELEVANT, passages=PASSAGES, answers=ANSWERS,
                   predictions=["Goethe", "x b", ""], k=(1, 2))  # fmt: skip
    assert got == {
        "accuracy@1": top_k_accuracy(PASSAGES, ANSWERS, k=1),
        "accuracy@2": top_k_accuracy(PASSAGES, ANSWERS, k=2),
        "recall@1": recall_at_k(RANKED, RELEVANT, k=1),
        "recall@2": recall_at_k(RANKED, RELEVANT, k=2),
        "mrr@1": mean_reciprocal_rank(RANKED, RELEVANT, k=1),
        "mrr@2": mean_reciprocal_rank(RANKED, RELEVANT, k=2),
        "ndcg@1": ndcg(RANKED, RELEVANT, k=1),
        "ndcg@2": ndcg(RANKED, RELEVANT, k=2),
        "exact_match": pytest.approx(1 / 3),
        "f1": pytest.approx((1 + 2 / 3 + 0) / 3),
    }
    assert list(evaluate(predictions=["a"], answers=[["a"]])) == ["exact_match", "f1"]
    assert list(evaluate(passages=PASSAGES, answers=ANSWERS)) == [f"accuracy@{k}" for k in (1, 5, 20, 100)]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ranked": RANKED},
        {"relevant": RELEVANT},
        {"passages": PASSAGES},
        {"answers": ANSWERS},
        {"predictions": ["a"]},
        {"ranked": RANKED, "relevant": RELEVANT[:2]},
        {"ranked": [], "relevant": []},
        {"passages": PASSAGES, "answers": ANSWERS, "predictions": ["a"]},
        {"passages": PASSAGES, "answers": ANSWERS, "k": [0]},
        {"passages": PASSAGES, "answers": ANSWERS, "k": []},
        {"passages": PASSAGES, "answers": ANSWERS, "k": [True]},
    ],
)
def test_what_does_not_go_together(given):
    with pytest.raises(OptionError):
        evaluate(**given)


@pytest.mark.parametrize(
    ("ranked", "relevant", "code"),
    [
        ([1, 1], [1], "bad-ranking"),
        ("ab", ["a"], "bad-ranking"),
        ([1], [], "no-relevant"),
        ([1], {1: 0}, "no-relevant"),
        ([1], "a", "no-relevant"),
        ([1], 1, "no-relevant"),
        ([1], {1: -1}, "bad-grade"),
        ([1], {1: float("nan")}, "bad-grade"),
        ([1], {1: 2000}, "bad-grade"),
        ([1], {1: "high"}, "bad-grade"),
        ([1, 2], ["1"], "bad-id"),
        (["1", "2"], {1: 2}, "bad-id"),
        (np.array(["1", ""]), np.array([1]), "bad-id"),
        ([1], [1, "1"], "bad-id"),
        ([1], [-1], "bad-id"),
        (["a"], {"": 1}, "bad-id"),
        ([1], [True], "bad-id"),
        ([1], [[1]], "bad-id"),
        ([{"id": 1}], [1], "bad-ranking"),
        (7, [1], "bad-ranking"),
    ],
)
@pytest.mark.parametrize("measure", [recall_at_k, mean_reciprocal_rank, ndcg])
def test_bad_rankings(measure, ranked, relevant, code):
    with pytest.raises(InputError) as caught:
        measure([[1], ranked], [[1], relevant], k=3)
    assert (caught.value.code, caught.value.index) == (code, 1)


def test_bad_passages():
    for passages, answers, code in (
        ("text", ["a"], "not-text"),
        (["a"], [], "no-answers"),
        ([None], ["a"], "not-text"),
    ):
        with pytest.raises(InputError) as caught:
            top_k_accuracy([["a"], passages], [["a"], answers], k=1)
        assert (caught.value.code, caught.value.index) == (code, 1)
    with pytest.raises(OptionError, match="gain"):
        ndcg(RANKED, RELEVANT, gain="log")
