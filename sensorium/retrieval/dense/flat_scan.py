"""The scan of many queries in float32 by faiss, for CPUs on which its products are faster than torch's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.retrieval.dense.coarse import Coarse, CoarseQueries
from sensorium.retrieval.dense.rounding import GROUP

FEWEST = 256
"""Queries at once below which torch's products and the selection here are faster on every CPU tried."""

LEAST_PRODUCTS = 2**25
"""Below so many products, of queries and vectors, trying which is faster would take longer than it saves."""

BESIDE = 16
"""Rows that faiss is asked for besides the k best: what they score at most proves that no row was left out."""

SELECTION = 0.04
"""What looking at all products adds to a scan in torch, of the time of multiplying."""

CANDIDATES = 250
"""What the candidates add, for each of the k best, in products of vectors."""


def suits(queries: int, vectors: int, k: int) -> bool:
    """Whether faiss is to scan so many vectors for so many queries at once: where it takes less time than torch."""
    if queries < FEWEST or queries * vectors < LEAST_PRODUCTS:
        return False
    return relative_time() < 1 + SELECTION + CANDIDATES * k / vectors


@cache
def relative_time() -> float:
    """How long faiss takes to find the largest of many products, of the time in which torch multiplies; tried once.

    Infinite where it would use more threads than torch may: that is no gain but a broken promise.
    """
    if faiss.omp_get_max_threads() > torch.get_num_threads():
        return float("inf")
    with torch.inference_mode():
        queries, vectors, products = torch.randn(512, 768), torch.randn(2_048, 768), torch.empty(512, 2_048)
        arrays = queries.numpy(), vectors.numpy()
        spent: tuple[list[float], list[float]] = ([], [])
        for _ in range(4):  # in turn, so that whatever else runs slows both
            spent[0].append(_seconds(lambda: faiss.knn(*arrays, 1, faiss.METRIC_INNER_PRODUCT)))
            spent[1].append(_seconds(lambda: torch.mm(queries, vectors.T, out=products)))
    return statistics.median(spent[0][1:]) / statistics.median(spent[1][1:])


def flat_scan(
    queries: CoarseQueries, vectors: NDArray[np.float32], bounds: Coarse, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The rows whose float32 products may be largest.

    Args:
        queries: float32.
        vectors: `(N, D)`.
        bounds: theirs, in float32.
        k: how many rows are wanted.

    Returns:
        `(B, W)` float32, than which their products are not larger, `(B, W)` int64 rows, and `(B,)` float32, than which
        the products of all other rows are not larger: -inf where there are none.
    """
    width = min(len(vectors), k + BESIDE)
    scores, rows = map(
        torch.from_numpy, faiss.knn(queries.exact.numpy(), vectors, width, metric=faiss.METRIC_INNER_PRODUCT)
    )
    of_longest, always = queries.of_longest[:, None], queries.always[:, None]
    upper = scores + of_longest * bounds.longest[rows // GROUP] + always
    if width == len(vectors):
        return upper, rows, torch.full((len(rows),), -torch.inf)
    return upper, rows, scores[:, -1] + queries.of_longest * bounds.longest.max() + queries.always


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
