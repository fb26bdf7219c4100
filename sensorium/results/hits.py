"""What a search found: the nearest passages of one query, or of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from sensorium.results.result import Result

Row = Mapping[str, Any]


class Hits(Result):
    """The passages found for one query, best first.

    Attributes:
        ids: `(K,)`, the passages' ids: int64, or str where the index has texts for ids.
        scores: `(K,)` float32; what they mean is the search's to say (an inner product, BM25, a fused rank …).
        passages: `(K,)` mappings `{"id", "text", "title", "source", "start", "end", **metadata}`.
        query: what was searched for, where it was a text; else None.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("ids", "index", "passages", "query", "scores")

    def __init__(
        self, ids: Any, scores: Any, passages: Sequence[Row], *, query: str | None = None, index: int = 0
    ) -> None:
        """Checks that what is given agrees in length.

        Raises:
            ValueError: the lengths differ.
        """
        self.ids: NDArray[Any] = np.array(ids)
        self.scores: NDArray[np.float32] = np.array(scores, dtype=np.float32)
        self.passages: tuple[Row, ...] = tuple(passages)
        self.query, self.index = query, index
        lengths = {"ids": self.ids.shape, "scores": self.scores.shape, "passages": (len(self.passages),)}
        if len(set(lengths.values())) != 1 or self.scores.ndim != 1:
            raise ValueError(f"ids, scores and passages must be of one length, got the shapes {lengths}")

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice | NDArray[Any]) -> Hits: ...
    def __getitem__(self, key: Any) -> Any:
        """A dict for an integer; the `Hits` left by a slice, a boolean mask or an index array."""
        if isinstance(key, (int, np.integer)):
            passage = self.passages[int(key)]
            return {"score": float(self.scores[key]), **{name: passage[name] for name in passage if name != "score"}}
        kept = np.arange(len(self))[key]
        rows = [self.passages[i] for i in kept.tolist()]
        return Hits(self.ids[kept], self.scores[kept], rows, query=self.query, index=self.index)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        shown = [f"{_brief(p, 40)!r}: {s:.4g}" for p, s in zip(self.passages[:4], self.scores.tolist(), strict=False)]
        more = f", and {len(self) - 4} more" if len(self) > 4 else ""
        return f"Hits({{{', '.join(shown)}{more}}}, index={self.index})"

    def lines(self) -> list[str]:
        """Short texts for a terminal: a hit each, with its score, its title or source, and how its text begins."""
        rows = zip(self.passages, self.scores.tolist(), strict=True)
        return [f"{score:.4f}  {_brief(passage, 160)}" for passage, score in rows] or ["nothing found"]

    def to_dict(self) -> list[dict[str, Any]]:
        """`[{"score": float, "id": …, "text": str, "title": str, …}, …]`, best first, of plain Python values."""
        return [{name: _plain(value) for name, value in hit.items()} for hit in self]


class SearchResults(Sequence[Hits]):
    """What was found for Q queries: arrays of all of them, and the `Hits` of each.

    Attributes:
        ids: `(Q, K)`, the passages' ids, best first; where a query found fewer than K, -1 or "".
        scores: `(Q, K)` float32; -inf where a query found fewer.
        rows: `(Q, K)` int64, the passages' places in the index; -1 where a query found fewer.
    """

    __slots__ = ("_hits", "ids", "rows", "scores")

    def __init__(
        self, ids: NDArray[Any], scores: NDArray[np.float32], rows: NDArray[np.int64], hits: Sequence[Hits]
    ) -> None:
        self.ids, self.scores, self.rows = ids, scores, rows
        self._hits = tuple(hits)

    def __len__(self) -> int:
        return len(self._hits)

    @overload
    def __getitem__(self, key: int) -> Hits: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[Hits]: ...
    def __getitem__(self, key: Any) -> Any:
        """The hits of one query, or of several."""
        return self._hits[key]

    @property
    def passages(self) -> list[list[Row]]:
        """The passages found, a list a query."""
        return [list(hits.passages) for hits in self._hits]

    def __repr__(self) -> str:
        return f"SearchResults({len(self)} queries, up to {self.scores.shape[1]} hits each)"


def _brief(passage: Row, max_length: int) -> str:
    """How a passage is told in a line: by its title and text, or by where it comes from."""
    text = " ".join(str(passage.get("text") or "").split())
    name = str(passage.get("title") or ("" if text else passage.get("source") or passage.get("id") or ""))
    line = f"{name}: {text}" if name and text else name or text
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def _plain(value: Any) -> Any:
    """What JSON knows: numbers of NumPy become Python's, times and the like their text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
