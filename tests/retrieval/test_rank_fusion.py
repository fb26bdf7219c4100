"""Reciprocal rank fusion against its definition, row by row."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.rank_fusion import reciprocal_rank_fusion


def naive(rankings, *, k, constant, weights):
    """For each query `[(score, row), …]`, with exact sums."""
    results = []
    for lists in zip(*rankings, strict=True):
        scores = {}  # in the order in which rows are first met
        for ranking, weight in zip(lists, weights, strict=True):
            for rank, row in enumerate(ranking, 1):
                if row >= 0:
                    scores[row] = scores.get(row, 0) + Fraction(weight) / (constant + rank)
        results.append(sorted(((s, row) for row, s in scores.items()), key=lambda pair: -pair[0])[:k])
    return results


@st.composite
def cases(draw):
    queries, count = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    lengths = [draw(st.integers(0, 6)) for _ in range(count)]

    def row(length):
        rows = draw(st.permutations(range(8)))[:length]
        found = draw(st.integers(0, length))
        return [*rows[:found], *[-1] * (length - found)]

    return [[row(length) for _ in range(queries)] for length in lengths], lengths, queries


@given(
    case=cases(),
    k=st.integers(1, 12),
    constant=st.sampled_from([0, 1, 60]),
    weights=st.none() | st.lists(st.sampled_from([1, 2, Fraction(1, 2)]), min_size=4, max_size=4),
)
def test_equals_the_definition(case, k, constant, weights):
    rankings, lengths, queries = case
    weights = None if weights is None else weights[: len(rankings)]
    arrays = [np.array(r, np.int64).reshape(queries, n) for r, n in zip(rankings, lengths, strict=True)]
    given_weights = None if weights is None else [float(weight) for weight in weights]
    scores, rows = reciprocal_rank_fusion(arrays, k=k, constant=constant, weights=given_weights)
    assert (scores.shape, scores.dtype) == ((queries, k), np.float32)
    assert (rows.shape, rows.dtype) == ((queries, k), np.int64)
    expected = naive(rankings, k=k, constant=constant, weights=weights or [1] * len(rankings))
    for got, row, want in zip(scores, rows, expected, strict=True):
        assert row.tolist() == [r for _, r in want] + [-1] * (k - len(want))
        np.testing.assert_allclose(got[: len(want)], [float(s) for s, _ in want], rtol=1e-6)  # float32
        assert np.isneginf(got[len(want) :]).all()


def test_an_example_by_hand():
    scores, rows = reciprocal_rank_fusion([np.array([[5, 7]]), np.array([[9, 5, -1]])], k=4)
    assert rows.tolist() == [[5, 9, 7, -1]]
    np.testing.assert_allclose(scores[0, :3], [1 / 61 + 1 / 62, 1 / 61, 1 / 62], rtol=1e-6)


def test_equal_scores_keep_the_order_of_the_first_ranking():
    a, b = np.array([[3, 1, 2]]), np.array([[2, 1, 3]])
    assert reciprocal_rank_fusion([a, b], k=3)[1].tolist() == [[3, 2, 1]]  # 1/61 + 1/63 > 2/62
    assert reciprocal_rank_fusion([b, a], k=3)[1].tolist() == [[2, 3, 1]]
    # sums of three in different orders, equal on paper
    c = [np.array([[4, 5, 6]]), np.array([[5, 6, 4]]), np.array([[6, 4, 5]])]
    assert reciprocal_rank_fusion(c, k=3)[1].tolist() == [[4, 5, 6]]


def test_int32_rows_are_taken():
    assert reciprocal_rank_fusion([np.array([[1, 0]], np.int32)], k=2)[1].tolist() == [[1, 0]]


GOOD = np.array([[0, 1]])


@pytest.mark.parametrize(
    ("rankings", "options"),
    [
        ([], {}),
        ([GOOD, np.array([[0], [1]])], {}),
        ([GOOD], {"k": 0}),
        ([GOOD], {"k": True}),
        ([GOOD], {"constant": -1}),
        ([GOOD], {"constant": float("nan")}),
        ([GOOD], {"weights": [1, 1]}),
        ([GOOD], {"weights": [0]}),
        ([GOOD], {"weights": [float("inf")]}),
    ],
)
def test_bad_options(rankings, options):
    with pytest.raises(OptionError):
        reciprocal_rank_fusion(rankings, **{"k": 1, **options})


@pytest.mark.parametrize("ranking", [np.array([0, 1]), np.array([[0.0, 1.0]]), np.array([[1, 1]]), np.array([[-2, 1]])])
def test_bad_rankings(ranking):
    with pytest.raises(InputError, match="ranking 1") as caught:
        reciprocal_rank_fusion([GOOD, ranking], k=1)
    assert caught.value.code == "bad-ranking"
