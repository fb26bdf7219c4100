"""Texts, ordered by how well they answer a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.kinds import BOOL, FLOAT32, INT64, TEXT
from sensorium.results.rows import Rows


class Ranking(Rows):
    """Texts with their scores, best first.

    Attributes:
        order: `(K,)` int64, the texts' positions among those that were given.
        scores: `(K,)` float32; in [0, 1] where the checkpoint, or `activation="sigmoid"`, asks for that, else any
            number.
        texts: the K texts.
        single: whether the input was a single text, not a list; then `to_dict()` gives its row alone.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("index", "order", "scores", "single", "texts")

    columns = (
        Structs(
            "ranking",
            Field("corpus_id", INT64, "order"),
            Field("score", FLOAT32, "scores"),
            Field("text", TEXT, "texts"),
        ),
        Scalar("single", BOOL),
    )

    def __init__(self, order: Any, scores: Any, texts: Sequence[str], *, single: bool = False, index: int = 0) -> None:
        """Checks that the three agree in length.

        Raises:
            ValueError: the lengths of `order`, `scores` and `texts` differ.
        """
        self.order: NDArray[np.int64] = np.array(order, dtype=np.int64)
        self.scores: NDArray[np.float32] = np.array(scores, dtype=np.float32)
        self.texts: list[str] = list(texts)
        self.single, self.index = single, index
        if not self.order.shape == self.scores.shape == (len(self.texts),):
            shapes = f"{self.order.shape}, {self.scores.shape} and ({len(self.texts)},)"
            raise ValueError(f"order, scores and texts must be of one length, got the shapes {shapes}")

    @property
    def score(self) -> float:
        """The score of the best text, which is the one that there is for a pair of query and text.

        Raises:
            IndexError: no text was kept.
        """
        return float(self.scores[0])

    def __len__(self) -> int:
        return len(self.texts)

    def _take(self, key: Any) -> Ranking:
        kept = np.arange(len(self))[key]
        texts = [self.texts[i] for i in kept.tolist()]
        return Ranking(self.order[kept], self.scores[kept], texts, single=self.single, index=self.index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ranking):
            return list(self) == list(other)
        return list(self) == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        rows = [f"{_short(text, 60)!r}: {score:.4g}" for text, score in self._pairs(8)]
        more = f", and {len(self) - 8} more" if len(self) > 8 else ""
        return f"Ranking({{{', '.join(rows)}{more}}}, index={self.index})"

    def lines(self) -> list[str]:
        """Short texts for a terminal: a score and the beginning of its text each."""
        return [f"{score:.4f} {_short(' '.join(text.split()), 80)}" for text, score in self._pairs(len(self))]

    def to_dict(self) -> list[dict[str, Any]] | dict[str, Any]:
        """The texts in the schema of sentence-transformers' `CrossEncoder.rank`, best first.

        Returns:
            `[{"corpus_id": int, "score": float, "text": str}, …]`; where `single` is set and there is one text, that
            dict itself.
        """
        rows = [self._row(i) for i in range(len(self))]
        return rows[0] if self.single and len(rows) == 1 else rows

    def _row(self, at: int) -> dict[str, Any]:
        return {"corpus_id": int(self.order[at]), "score": float(self.scores[at]), "text": str(self.texts[at])}

    def _pairs(self, count: int) -> list[tuple[str, float]]:
        return list(zip(self.texts[:count], self.scores[:count].tolist(), strict=True))


def _short(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
