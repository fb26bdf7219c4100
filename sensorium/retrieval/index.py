"""Index: passages or media with their vectors, searched by meaning, by words, or by both."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError
from sensorium.pipelines.placement import resolve_device
from sensorium.results import SearchResults
from sensorium.retrieval.building import EncodedPassages, OnError, check_on_error, encode_items, encode_passages
from sensorium.retrieval.dense.kinds import check_kind, choose_kind
from sensorium.retrieval.dense.vectors import as_queries, as_vectors, unit_rows
from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.encoding.sides import Similarity
from sensorium.retrieval.index_encoder import IndexEncoder, opened
from sensorium.retrieval.passage_table import PassageTable
from sensorium.retrieval.refreshing import Changes, Refreshed
from sensorium.retrieval.reranking import Reranker
from sensorium.retrieval.rows import IndexItem, check_unique, number, read_rows, rows_for
from sensorium.retrieval.state import IndexState
from sensorium.retrieval.storage import Opened
from sensorium.tasks.options import Count, checked
from sensorium.tasks.searching.search_task import Mode, SearchOptions


class Index:
    """Passages (or pictures, or sounds) and their vectors; made by `build`, `from_vectors` or `load`.

    May be searched from several threads, also while passages are added or deleted.

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
        self._lock = threading.RLock()
        self._opened: Opened | None = None
        self.splitting: Mapping[str, Any] | None = None

    @classmethod
    def build(
        cls,
        passages: Iterable[Any],
        encoder: str | os.PathLike[str] | Encoder,
        *,
        kind: str = "auto",
        lexical: bool = False,
        deletes: bool = False,
        on_error: OnError = "raise",
        resume: str | os.PathLike[str] | None = None,
        device: str | int | torch.device | None = None,
        progress: bool = False,
    ) -> Self:
        """Encodes passages and makes them searchable.

        Args:
            passages: `Passage`s, texts, pairs `(title, text)`, or mappings with "text"; for an encoder of media
                whatever a pipeline takes of that kind, or mappings with "image" or "audio", and metadata.
            encoder: a name or folder of what `Encoder.from_pretrained` takes, or an `Encoder`.
            kind: "exact", "hnsw", "ivfpq", any factory string of faiss, or "auto": by size, memory and `deletes`.
            lexical: whether to index the words, too, for `mode="lexical"` and `"hybrid"`.
            deletes: whether passages will be deleted or replaced often, which graphs (HNSW) are bad at.
            on_error: "raise" ends the build at the first passage that cannot be encoded; "skip" leaves them out and
                warns of their number at the end; a function is called with each error instead, which has its `index`.
            resume: a folder that keeps what was encoded, so that a build that was interrupted goes on where it
                stopped, and gives the same index. It is not removed.
            device: where an exact search and the encoder run; None for the best there is.
            progress: shows a progress bar on standard error.

        Raises:
            InputError: a passage that cannot be encoded (with its `index`), ids that come twice, or no passages.
            OptionError: an argument with an invalid value.
        """
        target = resolve_device(device)
        loaded = opened(encoder, device)
        check_kind(kind, loaded.dimension)
        _check_words(lexical, loaded)
        encoded = encode_passages(passages, loaded, on_error=on_error, resume=resume, progress=progress)
        kind = choose_kind(kind, *encoded.vectors.shape, deletes=deletes, device=target)
        return cls._of(encoded, kind, loaded.similarity, lexical=lexical, encoder=loaded, device=target)

    @classmethod
    def from_vectors(
        cls,
        vectors: Any,
        *,
        passages: Iterable[Any] | None = None,
        kind: str = "auto",
        similarity: Similarity = "dot",
        lexical: bool = False,
        deletes: bool = False,
        encoder: str | os.PathLike[str] | Encoder | None = None,
        device: str | int | torch.device | None = None,
    ) -> Self:
        """Makes existing vectors searchable.

        Args:
            vectors: `(N, D)`, an array or tensor of numbers; float32, also memory-mapped, is not copied.
            passages: N passages as `build` takes them; None for rows that have only numbers.
            kind: as in `build`.
            similarity: "cosine" divides vectors and queries by their norms.
            lexical: as in `build`.
            deletes: as in `build`.
            encoder: what encodes queries that are not vectors; None where all queries are vectors.
            device: as in `build`.

        Raises:
            InputError: vectors of another shape, or with values that are not finite; ids that come twice.
            OptionError: an argument with an invalid value.
        """
        target = resolve_device(device)
        if similarity not in ("dot", "cosine"):
            raise OptionError(f'similarity is "dot" or "cosine", got {similarity!r}')
        loaded = None if encoder is None else opened(encoder, device)
        _check_words(lexical, loaded)
        checked = as_vectors(vectors, width=None if loaded is None else loaded.dimension)
        check_kind(kind, checked.shape[1])
        rows = rows_for(passages, len(checked), "text" if loaded is None else loaded.modality)
        encoded = EncodedPassages(rows, unit_rows(checked) if similarity == "cosine" else checked)
        kind = choose_kind(kind, *checked.shape, deletes=deletes, device=target)
        return cls._of(encoded, kind, similarity, lexical=lexical, encoder=loaded, device=target)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        encoder: str | os.PathLike[str] | Encoder | None = None,
        verify: bool = True,
        device: str | int | torch.device | None = None,
    ) -> Self:
        """Opens what `save` wrote; vectors and passages stay on disk until they are looked at.

        Args:
            folder: the index's.
            encoder: instead of finding the encoder that it was built with by its name.
            verify: whether to compare the files with their digests, which reads them once.
            device: as in `build`.

        Raises:
            IndexFileError: there is no index, or it is not as it was written.
            OptionError: a different encoder from the one that the index was built with.
        """
        target = resolve_device(device)
        facts, state = IndexState.read(Path(folder), verify=verify, device=target)
        index = cls(
            state,
            kind=facts["kind"],
            dimension=facts["dimension"],
            similarity=facts["similarity"],
            next_id=facts["next_id"],
            encoder=facts["encoder"],
            device=target,
        )
        index._opened = Opened(Path(folder).absolute(), facts["digest"])
        index.splitting = facts.get("splitting")
        if encoder is not None:
            index._encoder.replace(opened(encoder, device))
        return index

    @classmethod
    def _of(
        cls,
        encoded: EncodedPassages,
        kind: str,
        similarity: Similarity,
        *,
        lexical: bool,
        encoder: Encoder | None,
        device: torch.device,
    ) -> Self:
        state = IndexState.of(encoded, kind, words=lexical, device=device)
        ids, width = state.table.ids, encoded.vectors.shape[1]
        following = 0 if ids.dtype.kind == "U" else int(ids.max()) + 1
        return cls(
            state, kind=kind, dimension=width, similarity=similarity, next_id=following, encoder=encoder, device=device
        )

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

    def add(
        self,
        passages: Iterable[Any] | None = None,
        *,
        vectors: Any = None,
        on_error: OnError = "raise",
        resume: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> NDArray[Any]:
        """Adds passages, or vectors, or passages with their vectors; many at once cost far less than one by one.

        Args:
            passages: as `build` takes them; None for vectors alone.
            vectors: `(M, D)`; None to have the passages encoded.
            on_error: as in `build`; for passages that are to be encoded.
            resume: as in `build`; for passages that are to be encoded.
            progress: shows a progress bar on standard error.

        Returns:
            `(M,)`, their ids.

        Raises:
            InputError: as `build` and `from_vectors`; nothing is added then.
            OptionError: an argument with an invalid value, or without meaning for vectors.
        """
        if vectors is None:
            if passages is None:
                raise OptionError("add needs passages, vectors=…, or both")
            encoded = encode_passages(
                passages, self.encoder, on_error=on_error, resume=resume, progress=progress, **self._known_ids()
            )
        else:
            if on_error != "raise" or resume is not None:
                raise OptionError("on_error= and resume= are for passages that are to be encoded, not for vectors=")
            checked = as_vectors(vectors, width=self.dimension)
            rows = rows_for(passages, len(checked), self._encoder.modality, **self._known_ids())
            encoded = EncodedPassages(rows, unit_rows(checked) if self.similarity == "cosine" else checked)
        with self._lock:
            state = self._state
            known_ids = state.table.ids
            number(encoded.rows, first=self._next_id)
            added = PassageTable.of(encoded.rows)
            check_unique(added.ids, existing=known_ids[state.alive])
            self._state = state.grown(added, encoded.vectors, self._device)
            if known_ids.dtype.kind != "U":
                self._next_id = max(self._next_id, int(added.ids.max()) + 1)
        return added.ids

    def refresh(
        self,
        passages: Iterable[Any],
        *,
        where: Any = None,
        on_error: OnError = "raise",
        resume: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> Refreshed:
        """Makes the passages of the index those that are given, and encodes only those that are new.

        Passages are compared by what they say. Those that are as they were stay; those that stand elsewhere now, or
        have other metadata, keep id and vector; those that are no longer given are deleted.

        Args:
            passages: as `build` takes them, of texts; none, to delete all.
            where: which passages of the index they stand for, as in `search`; None for all. Others stay as they are.
            on_error: as in `build`.
            resume: as in `build`.
            progress: shows a progress bar on standard error.

        Raises:
            InputError: as `add`; the index stays as it was then.
            OptionError: an argument with an invalid value, or an index of media, whose content cannot be compared.
        """
        if self._encoder.modality != "text":
            raise OptionError("refresh compares texts; delete pictures and sounds, and add them again")
        check_on_error(on_error)
        encoder = self.encoder

        def encode(items: Sequence[IndexItem | InputError]) -> EncodedPassages:
            settings: dict[str, Any] = {"on_error": on_error, "resume": resume, "progress": progress}
            return encode_items(items, encoder, total=len(items), **settings)

        with self._lock:
            state = self._state
            scope = state.alive if where is None else state.alive & state.table.where(where)
            known = self._known_ids(state.alive & ~scope)
            items = list(read_rows(passages, "text", skip=on_error != "raise", **known))
            changes = Changes.of(state, scope, items, encode)
            number(changes.rows, first=self._next_id)
            self._state = changes.made(state, self._device)
            if not known["texts"]:
                self._next_id = max([self._next_id, *(row["id"] + 1 for row in changes.rows)])
        return changes.counts

    def delete(self, ids: Sequence[Any] | NDArray[Any]) -> int:
        """Deletes the passages with these ids; an exact index frees their space when it is saved.

        Returns:
            How many were deleted.

        Raises:
            OptionError: an id that no passage has; nothing is deleted then.
        """
        with self._lock:
            state = self._state
            alive = state.alive.copy()
            rows = state.rows_of(ids)
            alive[rows] = False
            self._state = replace(state, alive=alive)
        return len(np.unique(rows))

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
        """
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
        k = checked("k", k, Count)
        return self._state.search(vectors, texts, SearchOptions.parse({"top_k": k, **options}), self.similarity)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the index; if it is interrupted, the folder still holds what it held before.

        Args:
            folder: a new one, or that of an index, which is replaced.

        Raises:
            IndexFileError: the folder holds something else; or this index was opened from it and somebody has changed
                it since.
            OSError: it could not be written to disk.
        """
        with self._lock:
            state = self._state.compacted(self._device)
            facts = {
                "kind": self.kind,
                "dimension": self.dimension,
                "similarity": self.similarity,
                "next_id": self._next_id,
                "encoder": self._encoder.facts(),
                "splitting": self.splitting,
            }
            self._opened = state.write(Path(folder), facts, opened=self._opened)
            self._state = state

    def _known_ids(self, alive: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """Of what kind ids are, and which rows have taken theirs, so that others are refused before encoding."""
        state = self._state
        living = state.alive if alive is None else alive

        def taken(passage_id: Any) -> bool:
            _, rows = state.table.find(np.array([passage_id]))
            return bool(living[rows].any())

        return {"texts": state.table.ids.dtype.kind == "U", "taken": taken}

    def _queries(self, queries: Any, mode: Mode) -> tuple[list[str | None] | None, NDArray[np.float32] | None]:
        """The texts of queries where they are texts, and their vectors where the mode needs them."""
        checked("mode", mode, Mode)
        if isinstance(queries, np.ndarray) and queries.dtype.kind in "OU":
            queries = queries.tolist()
        are_vectors = isinstance(queries, (np.ndarray, torch.Tensor)) and queries.ndim <= 2
        if mode == "dense" and (are_vectors or _are_numbers(queries)):
            vectors = as_queries(queries, width=self.dimension)
            return None, unit_rows(vectors) if self.similarity == "cosine" else vectors
        several = list(queries) if isinstance(queries, (list, tuple)) else [queries]
        texts = [query if isinstance(query, str) else None for query in several]
        if mode != "dense" and None in texts:
            raise OptionError(f"mode={mode!r} searches for words; give the queries as texts")
        return texts, None if mode == "lexical" else self.encoder.encode_queries(several)


def _are_numbers(queries: Any) -> bool:
    """Whether queries are a vector, or several, in lists; lists of arrays are media."""
    first = queries
    while isinstance(first, (list, tuple)) and len(first):
        first = first[0]
    return first is not queries and isinstance(first, Real) and not isinstance(first, (bool, np.bool_))


def _check_words(lexical: bool, encoder: Encoder | None) -> None:
    if lexical and encoder is not None and encoder.modality != "text":
        raise OptionError(f"lexical=True is for texts; {encoder.name!r} is of {encoder.modality}")
