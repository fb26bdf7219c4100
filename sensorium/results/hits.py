"""What a search found: the nearest passages of one query, or of several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.kinds import FLOAT32, PASSAGE, TEXT
from sensorium.results.rows import Rows
from sensorium.results.tables import plain, to_pandas, to_polars

Passage = Mapping[str, Any]


class Hits(Rows):
    """The passages found for one query, best first.

    Attributes:
        ids: `(K,)`, the passages' ids: int64, or str where the index has texts for ids.
        scores: `(K,)` float32; what they mean is the search's to say (an inner product, BM25, a fused rank …).
        passages: `(K,)` mappings `{"id", "text", "title", "source", "start", "end", **metadata}`.
        query: what was searched for, where it was a text; else None.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("ids", "index", "passages", "query", "scores")

    columns = (
        Structs(
            "hits",
            Field("id", TEXT, "ids"),
            Field("score", FLOAT32, "scores"),
            Field("passage", PASSAGE, "passages"),
        ),
        Scalar("id_type", TEXT),
        Scalar("query", TEXT, nullable=True),
    )

    def __init__(
        self, ids: Any, scores: Any, passages: Sequence[Passage], *, query: str | None = None, index: int = 0
    ) -> None:
        """Checks that what is given agrees in length.

        Raises:
            ValueError: the lengths differ.
        """
        self.ids: NDArray[Any] = np.array(ids)
        self.scores: NDArray[np.float32] = np.array(scores, dtype=np.float32)
        self.passages: tuple[Passage, ...] = tuple(passages)
        self.query, self.index = query, index
        lengths = {"ids": self.ids.shape, "scores": self.scores.shape, "passages": (len(self.passages),)}
        if len(set(lengths.values())) != 1 or self.scores.ndim != 1:
            raise ValueError(f"ids, scores and passages must be of one length, got the shapes {lengths}")

    def _held(self) -> dict[str, Any]:
        held = {name: getattr(self, name) for name in ("scores", "passages", "query")}
        kind = "str" if self.ids.dtype.kind == "U" else self.ids.dtype.name
        return held | {"ids": [str(each) for each in self.ids.tolist()], "id_type": kind}

    @classmethod
    def _made(cls, *, ids: Sequence[str] = (), id_type: str = "str", **held: Any) -> Self:
        return cls(np.array(ids, np.str_).astype(id_type), **held)

    def __len__(self) -> int:
        return len(self.scores)

    def _row(self, at: int) -> dict[str, Any]:
        passage = self.passages[at]
        return {"score": float(self.scores[at]), **{name: passage[name] for name in passage if name != "score"}}

    def _take(self, key: Any) -> Hits:
        kept = np.arange(len(self))[key]
        rows = [self.passages[i] for i in kept.tolist()]
        return Hits(self.ids[kept], self.scores[kept], rows, query=self.query, index=self.index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Hits):
            return self.query == other.query and self.to_dict() == other.to_dict()
        return self.to_dict() == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

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
        return [plain(self._row(i)) for i in range(len(self))]


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
    def passages(self) -> list[list[Passage]]:
        """The passages found, a list a query."""
        return [list(hits.passages) for hits in self._hits]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SearchResults):
            return NotImplemented
        pairs = ((self.ids, other.ids), (self.scores, other.scores), (self.rows, other.rows))
        return self._hits == other._hits and all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def to_dict(self) -> list[list[dict[str, Any]]]:
        """A list of hits a query, as `Hits.to_dict` has them."""
        return [hits.to_dict() for hits in self._hits]

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict()` as JSON; `indent` is a number of spaces, or None for one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def to_pandas(self) -> Any:
        """The hits of all queries as a `pandas.DataFrame`; see `sensorium.results.to_pandas`."""
        return to_pandas(self._hits)

    def to_polars(self) -> Any:
        """The hits of all queries as a `polars.DataFrame`; see `sensorium.results.to_polars`."""
        return to_polars(self._hits)

    def __repr__(self) -> str:
        return f"SearchResults({len(self)} queries, up to {self.scores.shape[1]} hits each)"


def _brief(passage: Passage, max_length: int) -> str:
    """How a passage is told in a line: by its title and text, or by where it comes from."""
    text = " ".join(str(passage.get("text") or "").split())
    name = str(passage.get("title") or ("" if text else passage.get("source") or passage.get("id") or ""))
    line = f"{name}: {text}" if name and text else name or text
    return line if len(line) <= max_length else line[: max_length - 1] + "…"
