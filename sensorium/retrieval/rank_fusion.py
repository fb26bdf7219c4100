"""One ranking from several: reciprocal rank fusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError
from sensorium.tasks.options import Count, Range, checked

DIGITS = 12
"""Scores that agree in so many digits after the point are equal: sums in another order differ in the last bits."""


def reciprocal_rank_fusion(
    rankings: Sequence[NDArray[np.int64]], *, k: int, constant: float = 60, weights: Sequence[float] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Joins rankings of the same rows, whose scores need not be comparable, by the ranks alone.

    A row's score is Σ weight / (constant + rank) over the rankings that hold it, ranks from 1. Source: Cormack, Clarke
    and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods" (SIGIR 2009),
    which sets the constant to 60.

    Args:
        rankings: at least one; each `(Q, k_i)` integer rows, best first, for the same Q queries. -1 is not a row.
        k: how many rows to give, from 1.
        constant: from 0; the larger, the less the first places stand out.
        weights: what each ranking counts, above 0; None for 1 each.

    Returns:
        `(Q, k)` float32 scores, best first, and `(Q, k)` int64 rows; -inf and -1 where there are no more. Of equal
        scores that row comes first which comes first in the earliest ranking that holds one of them.

    Raises:
        OptionError: an invalid k, constant or weight, no rankings, or rankings of different numbers of queries.
        InputError: `bad-ranking`, an array that is not a ranking, or one that names a row twice for a query.
    """
    arrays, shares = _checked(rankings, weights), _weights(weights, len(rankings))
    k = checked("k", k, Count)
    constant = checked("constant", constant, Annotated[float, Range(0)])
    places = [np.broadcast_to(np.arange(a.shape[1]), a.shape) for a in arrays]
    parts = [share / (constant + 1 + position) for share, position in zip(shares, places, strict=True)]
    queries, at = (np.concatenate(arrays, axis=1) >= 0).nonzero()
    rows = np.concatenate(arrays, axis=1)[queries, at]
    share = np.concatenate(parts, axis=1)[queries, at]

    # one entry per query and row, summed; `first` is where it is met first
    order = np.lexsort((at, rows, queries))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(rows[order]) != 0) | (np.diff(queries[order]) != 0)
    (starts,) = fresh.nonzero()
    first = order[starts]
    sums = np.add.reduceat(share[order], starts) if len(starts) else share
    # best first within each query, then the first k of each
    best = np.lexsort((at[first], -np.round(sums, DIGITS), queries[first]))
    query = queries[first][best]
    position = np.arange(len(best)) - np.searchsorted(query, query)
    kept = position < k
    scores_out = np.full((len(arrays[0]), k), -np.inf, np.float32)
    rows_out = np.full((len(arrays[0]), k), -1, np.int64)
    scores_out[query[kept], position[kept]] = sums[best][kept]
    rows_out[query[kept], position[kept]] = rows[first][best][kept]
    return scores_out, rows_out


def _checked(rankings: Sequence[NDArray[np.int64]], weights: Sequence[float] | None) -> list[NDArray[np.int64]]:
    arrays = [np.asarray(ranking) for ranking in rankings]
    if not arrays:
        raise OptionError("expected at least one ranking to fuse, got none")
    for i, array in enumerate(arrays):
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
            raise InputError(
                f"expected ranking {i} to be (Q, k) integer rows, got {array.dtype} {array.shape}", code="bad-ranking"
            )
        ordered = np.sort(array, axis=1)
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
            raise InputError(f"expected ranking {i} to name a row once for a query, got one twice", code="bad-ranking")
        if ordered.size and ordered.min() < -1:
            raise InputError(
                f"expected the rows of ranking {i} to be from 0, or -1 for none, got {ordered.min()}",
                code="bad-ranking",
            )
    if len({len(array) for array in arrays}) > 1:
        raise OptionError(
            f"rankings are of the same queries, got the numbers {[len(array) for array in arrays]} of them"
        )
    return [array.astype(np.int64) for array in arrays]


def _weights(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1.0] * count
    values = list(weights)
    if len(values) != count or not all(_is_number(weight) and weight > 0 for weight in values):
        raise OptionError(f"weights are {count} numbers above 0, one a ranking (leave out one of 0), got {weights!r}")
    return [float(weight) for weight in values]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
