"""The last steps of a search: hits that score too little go, like ones make room for others, neighbours come along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from sensorium.retrieval.passage_table import PassageTable

Ranked = tuple[NDArray[np.float32], NDArray[np.int64]]
"""`(Q, K)` scores, best first, and `(Q, K)` rows; -inf and -1 where there are no more."""


def at_least(ranked: Ranked, min_score: float) -> Ranked:
    """A ranking without the hits that score less; those that are left stay in their order."""
    scores, rows = ranked
    kept = (rows >= 0) & (scores >= np.float32(min_score))
    order = np.argsort(~kept, axis=1, kind="stable")
    scores, rows = np.where(kept, scores, -np.inf), np.where(kept, rows, -1)
    return np.take_along_axis(scores, order, 1).astype(np.float32), np.take_along_axis(rows, order, 1)


def diversified(scores: NDArray[np.float32], vectors: NDArray[np.float32], k: int, diversity: float) -> NDArray[Any]:
    """Takes one hit after the other: that with the largest (1 - d) · relevance - d · likeness to one taken already.

    Source: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries" (SIGIR 1998), whose λ is 1 - d.

    Args:
        scores: `(K,)`, how relevant each is: cosines, or numbers from 0 to 1.
        vectors: `(K, D)`, of any length; their likeness is the cosine.
        k: how many to take.
        diversity: d, from 0 to 1.

    Returns:
        `(min(k, K),)` places, in the order in which they are taken; of equal ones the first.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    relevance = (1 - diversity) * scores.astype(np.float64)
    likeness = np.zeros(len(scores))
    taken: list[int] = []
    left = np.ones(len(scores), dtype=np.bool_)
    while left.any() and len(taken) < k:
        best = int(np.argmax(np.where(left, relevance - diversity * likeness, -np.inf)))
        left[best] = False
        likes = unit @ unit[best]
        likeness = np.maximum(likeness, likes) if taken else likes
        taken.append(best)
    return np.array(taken, dtype=np.int64)


def from_0_to_1(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of any scale, the least as 0 and the largest as 1."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


@dataclass(frozen=True)
class Neighbours:
    """Which passages stand beside each other in their documents.

    Attributes:
        table: the passages.
        order: `(N,)` rows of those that are alive and have a source, by source and start.
        places: `(N,)` where each row stands in that order; -1 for those without.
        documents: the number of the document of each in that order.
    """

    table: PassageTable
    order: NDArray[np.int64]
    places: NDArray[np.int64]
    documents: NDArray[np.int64]

    @classmethod
    def of(cls, table: PassageTable, alive: NDArray[np.bool_]) -> Self:
        """Sorts the passages that are alive."""
        sources = table.table["source"]
        codes = pc.index_in(sources, sources.unique(), skip_nulls=True).fill_null(-1)
        numbers = codes.to_numpy().astype(np.int64)
        starts = table.table["start"].to_numpy().astype(np.float64)
        rows = np.arange(len(table))
        order = np.lexsort((rows, starts, numbers))  # those without a start come last
        order = order[alive[order] & (numbers[order] >= 0)]
        places = np.full(len(table), -1, dtype=np.int64)
        places[order] = np.arange(len(order))
        return cls(table, order, places, numbers[order])

    def around(self, rows: NDArray[np.int64], count: int) -> list[dict[str, list[dict[str, Any]]]]:
        """For each row the passages of its document right `"before"` and `"after"` it, in the order of the text."""
        found = [self._beside(int(row), count) for row in rows]
        wanted = np.unique(np.concatenate([*map(np.concatenate, found), np.empty(0, np.int64)]).astype(np.int64))
        passages = dict(zip(wanted.tolist(), self.table.take(wanted), strict=True))
        return [
            {
                name: [dict(passages[row]) for row in side.tolist()]
                for name, side in zip(("before", "after"), pair, strict=True)
            }
            for pair in found
        ]

    def _beside(self, row: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        place = self.places[row]
        if place < 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        first, last = np.searchsorted(self.documents, self.documents[place], "left"), place + 1 + count
        end = np.searchsorted(self.documents, self.documents[place], "right")
        return self.order[max(first, place - count) : place], self.order[place + 1 : min(end, last)]
