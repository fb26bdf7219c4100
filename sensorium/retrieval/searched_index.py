"""An index as it is searched."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.errors import OptionError
from sensorium.pipelines.remaking import OneProcess
from sensorium.processors.audio_forms import is_with_rate
from sensorium.results import SearchResults
from sensorium.retrieval.dense.vectors import as_queries, unit_rows
from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.encoding.sides import Similarity
from sensorium.retrieval.index_encoder import IndexEncoder
from sensorium.retrieval.reranking import Reranker
from sensorium.retrieval.state import IndexState
from sensorium.retrieval.storage import Opened
from sensorium.tasks.options import Count, checked
from sensorium.tasks.searching.search_task import Mode, SearchOptions


class SearchedIndex:
    """What there is to be searched, and the search; how it is made, changed and saved is `Index`'s.

    Attributes:
        kind: "exact", "hnsw", "ivfpq" or a factory string of faiss.
        dimension: of a vector.
        similarity: "dot" for inner products, "cosine" for those of unit vectors.
        splitting: how its documents were cut, as `Splitting.to_dict()` gives it, where that was noted; saved with it.
    """

    def __init__(
        self,
        state: IndexState,
        *,
        kind: str,
        dimension: int,
        similarity: Similarity,
        next_id: int,
        encoder: Encoder | Mapping[str, Any] | None,
        device: torch.device,
    ) -> None:
        self.kind, self.dimension, self.similarity = kind, dimension, similarity
        self._state, self._next_id, self._device = state, next_id, device
        self._encoder = IndexEncoder(encoder, width=dimension, device=device)
        self._lock, self._process = threading.RLock(), OneProcess("index")
        self._opened: Opened | None = None
        self.splitting: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        """How many passages there are, without those deleted."""
        return int(self._state.alive.sum())

    def __repr__(self) -> str:
        return f"Index({len(self):,} × {self.dimension}, kind={self.kind!r}, similarity={self.similarity!r})"

    @property
    def encoder(self) -> Encoder:
        """What encodes queries and passages; opened when first needed.

        Raises:
            OptionError: the index was made of vectors, without an encoder.
            CheckpointError: the encoder cannot be opened; `Index.load(…, encoder=…)` says where else it is.
        """
        return self._encoder.get()

    @property
    def ids(self) -> NDArray[Any]:
        """`(N,)`, the passages' ids, int64 or str, in the order in which they were added."""
        state = self._state
        return state.table.ids[state.alive]

    def passages(self, ids: Sequence[Any] | NDArray[Any]) -> list[dict[str, Any]]:
        """The passages with these ids.

        Raises:
            OptionError: an id that no passage has.
        """
        state = self._state
        return state.table.take(state.rows_of(ids))

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        where: Any = None,
        mode: Mode = "dense",
        reranker: Reranker | None = None,
        lexical_weight: float = 1.0,
        min_score: float | None = None,
        diversity: float = 0.0,
        around: int = 0,
    ) -> SearchResults:
        """Finds the nearest passages of queries.

        Args:
            queries: a text or a list of texts; a medium, or a list of media, for an encoder that takes them; or
                vectors, `(D,)` or `(Q, D)`.
            k: how many passages to give for each query, from 1; fewer where there are no more.
            where: which passages may be found: a mapping from columns (title, source, metadata …) to a value, a list of
                values, or comparisons such as {">=": 1808, "<": 1832}; or an expression of `pyarrow.compute`.
            mode: "dense" by vectors, "lexical" by words (BM25), "hybrid" by both, fused by their ranks.
            reranker: reads each query with its best passages again, and reorders them.
            lexical_weight: how much the ranking by words counts in "hybrid", where that by vectors counts 1.
            min_score: leaves out hits that score less, on the scale of the mode or the reranker; None for none.
            diversity: how much hits are to differ from those before them, from 0 (not at all) to 1: maximal marginal
                relevance among the best 100 (or k, if that is more). For kinds that keep vectors: "exact" and "hnsw".
            around: how many neighbours on either side come with each hit, as its `"before"` and `"after"`: passages of
                the same source, in the order of its text.

        Returns:
            The hits of Q queries.

        Raises:
            OptionError: an argument with an invalid value.
            InputError: a query that cannot be encoded, or vectors of another width.
            ClosedError: this process was forked from one that has used the index.
        """
        self._process.use()
        texts, vectors = self._queries(queries, mode)
        if reranker is not None and texts is None:
            raise OptionError("a reranker reads texts; give the queries as texts")
        return self.search_encoded(
            vectors, texts, k, where=where, mode=mode, reranker=reranker, lexical_weight=lexical_weight,
            min_score=min_score, diversity=diversity, around=around,
        )  # fmt: skip

    def check_search(self, **options: Any) -> None:
        """Refuses a search that this index cannot do, without reading a passage.

        Args:
            **options: as in `search`.

        Raises:
            OptionError: an invalid value, or a mode that needs words; a filter that does not suit the columns;
                another kind of reranker.
            UnknownNameError: an unknown option, or a filter that names no column; names the nearest one.
        """
        parsed = SearchOptions.parse(options)
        if parsed.reranker is not None and not isinstance(parsed.reranker, Reranker):
            raise OptionError(f"reranker is a Reranker, got {type(parsed.reranker).__name__}")
        self._state.check(parsed.where, words=parsed.mode != "dense", apart=parsed.diversity > 0)

    def search_encoded(
        self, vectors: NDArray[np.float32] | None, texts: Sequence[str | None] | None, k: int, **options: Any
    ) -> SearchResults:
        """`search` for queries that are encoded already.

        Args:
            vectors: `(Q, D)` float32; None for `mode="lexical"`.
            texts: what the vectors say, where that is known; needed for words and for a reranker.
            k: as in `search`.
            **options: as in `search`.

        Raises:
            OptionError, UnknownNameError: as `check_search`.
        """
        self._process.use()
        k = checked("k", k, Count)
        return self._state.search(vectors, texts, SearchOptions.parse({"top_k": k, **options}), self.similarity)

    def _queries(self, queries: Any, mode: Mode) -> tuple[list[str | None] | None, NDArray[np.float32] | None]:
        """The texts of queries where they are texts, and their vectors where the mode needs them."""
        checked("mode", mode, Mode)
        if isinstance(queries, np.ndarray) and queries.dtype.kind in "OU":
            queries = queries.tolist()
        one = is_with_rate(queries) or not isinstance(queries, (list, tuple))
        are_vectors = isinstance(queries, (np.ndarray, torch.Tensor)) and queries.ndim <= 2
        if mode == "dense" and (are_vectors or _are_numbers(queries)):
            vectors = as_queries(queries, width=self.dimension)
            return None, unit_rows(vectors) if self.similarity == "cosine" else vectors
        several = [queries] if one else list(queries)
        texts = [query if isinstance(query, str) else None for query in several]
        if mode != "dense" and None in texts:
            raise OptionError(f"mode={mode!r} searches for words; give the queries as texts")
        return texts, None if mode == "lexical" else self.encoder.encode_queries(several)


def _are_numbers(queries: Any) -> bool:
    """Whether queries are a vector, or several, in lists; lists of arrays are media."""
    first = queries
    while isinstance(first, (list, tuple)) and len(first) and not is_with_rate(first):
        first = first[0]
    return first is not queries and isinstance(first, Real) and not isinstance(first, (bool, np.bool_))
