"""What an index is at one moment: passages, what searches their vectors and words, and which are deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from sensorium.errors import IndexFileError, OptionError
from sensorium.results import Hits, SearchResults
from sensorium.retrieval.array_files import read_array
from sensorium.retrieval.building import EncodedPassages
from sensorium.retrieval.contents import check_facts, check_together, check_vectors, open_passages
from sensorium.retrieval.dense.approximate import Approximate
from sensorium.retrieval.dense.coarse import coarse_copy
from sensorium.retrieval.dense.exact import ExactScan
from sensorium.retrieval.dense.kinds import Searcher, make_searcher
from sensorium.retrieval.encoding.sides import Similarity
from sensorium.retrieval.lexical.bm25 import FILES, LexicalIndex
from sensorium.retrieval.passage_table import PassageTable
from sensorium.retrieval.rank_fusion import reciprocal_rank_fusion
from sensorium.retrieval.ranking import Neighbours, Ranked, at_least, diversified, from_0_to_1
from sensorium.retrieval.reranking import Reranker
from sensorium.retrieval.rows import check_unique
from sensorium.retrieval.storage import Opened, read_folder, write_folder
from sensorium.tasks.searching.search_task import SearchOptions

CANDIDATES = 100
"""How many passages of each ranking a fusion or a reranker looks at, at least."""


@dataclass(frozen=True)
class IndexState:
    """Replaced as a whole, never changed, so that a search sees one state, whatever is added meanwhile.

    Attributes:
        table: the passages.
        vectors: `(N, D)` float32 of an exact index, else None.
        searcher: searches the vectors.
        alive: `(N,)` bool, which passages are not deleted.
        words: whether the passages' words are to be searched, too.
    """

    table: PassageTable
    vectors: NDArray[np.float32] | None
    searcher: Searcher
    alive: NDArray[np.bool_]
    words: bool = False

    @classmethod
    def of(cls, encoded: EncodedPassages, kind: str, *, words: bool, device: torch.device) -> Self:
        """The state of a new index.

        Raises:
            InputError: ids that come twice, or of two kinds.
            OptionError: too few vectors for that kind.
        """
        table = encoded.table.numbered(first=0)
        check_unique(table.ids)
        searcher = make_searcher(encoded.vectors, kind, device)
        alive = np.ones(len(encoded.vectors), dtype=np.bool_)
        return cls(table, encoded.vectors if kind == "exact" else None, searcher, alive, words=words)

    @cached_property
    def neighbours(self) -> Neighbours:
        """Which passages stand beside each other; sorted when first needed."""
        return Neighbours.of(self.table, self.alive)

    def check(self, where: Any, *, words: bool, apart: bool = False) -> None:
        """Refuses a filter that does not suit the columns, and a search for what is not there.

        Args:
            where: the filter.
            words: whether words are searched.
            apart: whether hits are compared with each other, for which their vectors are needed.

        Raises:
            OptionError, UnknownNameError: as `PassageTable.where`.
        """
        if words and not self.words:
            raise OptionError('this index has no words; build it with lexical=True for mode="lexical" and "hybrid"')
        if apart and isinstance(self.searcher, Approximate) and not self.searcher.keeps_vectors:
            raise OptionError(
                'diversity compares vectors, which this kind of index does not keep; "exact" and "hnsw" do'
            )
        if where is not None:
            PassageTable(self.table.table.slice(0, 0)).where(where)

    def search(
        self,
        vectors: NDArray[np.float32] | None,
        texts: Sequence[str | None] | None,
        options: SearchOptions,
        similarity: Similarity,
    ) -> SearchResults:
        """As `Index.search_encoded`."""
        self.check(None, words=options.mode != "dense", apart=options.diversity > 0)
        k, mode = options.top_k, options.mode
        mask = self.alive if options.where is None else self.alive & self.table.where(options.where)
        allowed = None if mask.all() else mask
        several = mode == "hybrid" or options.reranker is not None or options.diversity > 0
        wide = max(CANDIDATES, k) if several else k
        asked = [text or "" for text in texts or ()]
        rankings = []
        if mode != "lexical":
            assert vectors is not None
            rankings.append(self._nearest(vectors, wide, allowed))
        if mode != "dense":
            rankings.append(self.table.lexical.search(asked, wide, allowed=allowed))
        ranked = rankings[0]
        if len(rankings) > 1:
            weights = [1, options.lexical_weight]
            ranked = reciprocal_rank_fusion([rows for _, rows in rankings], k=wide, weights=weights)
        if options.reranker is not None:
            ranked = self._reranked(asked, ranked[1], options.reranker)
        if options.min_score is not None:
            ranked = at_least(ranked, options.min_score)
        if options.diversity > 0:
            cosines = mode == "dense" and options.reranker is None and similarity == "cosine"
            ranked = self._apart(ranked, k, options.diversity, cosines=cosines)
        return self._results(ranked[0][:, :k], ranked[1][:, :k], texts, around=options.around)

    def rows_of(self, ids: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
        """The rows of the passages with these ids that are not deleted, in the order of `ids`.

        Raises:
            OptionError: an id that no passage has.
        """
        wanted = np.asarray(ids)
        texts = self.table.ids.dtype.kind == "U"
        if wanted.ndim != 1 or (len(wanted) and (wanted.dtype.kind == "U") != texts) or wanted.dtype.kind not in "Uiuf":
            kind = "texts" if texts else "whole numbers"
            raise OptionError(f"expected a list of ids, which are {kind} here, got {ids!r:.100}")
        places, rows = self.table.find(wanted)
        living = self.alive[rows]
        missing = np.setdiff1d(np.arange(len(wanted)), places[living])
        if len(missing):
            raise OptionError(f"no passage has the id {wanted[missing[0]].item()!r}")
        return rows[living]

    def grown(self, table: PassageTable, vectors: NDArray[np.float32], device: torch.device) -> Self:
        """With further passages after those that are there."""
        alive = np.concatenate([self.alive, np.ones(len(vectors), dtype=np.bool_)])
        joined = self.table.append(table)
        if isinstance(self.searcher, Approximate):
            self.searcher.add(vectors)
            return replace(self, table=joined, alive=alive)
        assert self.vectors is not None
        together = np.concatenate([self.vectors, vectors])
        coarse = coarse_copy(together, device=self.searcher.device, previous=self.searcher.coarse)
        scan = ExactScan(together, device=device, coarse=coarse)
        return replace(self, table=joined, alive=alive, vectors=together, searcher=scan)

    def compacted(self, device: torch.device) -> Self:
        """Without the deleted passages, if the vectors are at hand."""
        if self.vectors is None or self.alive.all():
            return self
        (rows,) = self.alive.nonzero()
        kept, alive = self.vectors[rows], np.ones(len(rows), np.bool_)
        scan = ExactScan(kept, device=device)
        return replace(self, table=self.table.keep(rows), vectors=kept, searcher=scan, alive=alive)

    def write(self, folder: Path, facts: Mapping[str, Any], *, opened: Opened | None) -> Opened | None:
        """Writes the index, as `write_folder` does."""
        files: dict[str, tuple[str, Callable[[Path], None]]] = {
            "passages": (".arrow", self.table.write),
            "alive": (".npy", partial(_write_array, self.alive)),
        }
        if self.vectors is not None:
            files["vectors"] = (".npy", partial(_write_array, self.vectors))
        else:
            assert isinstance(self.searcher, Approximate)
            files["vectors"] = (".faiss", self.searcher.write)
        if self.words:
            files |= self.table.lexical.files()
        return write_folder(folder, facts, files, opened=opened)

    @classmethod
    def read(cls, folder: Path, *, verify: bool, device: torch.device) -> tuple[dict[str, Any], Self]:
        """The facts that `write` was given, and what it wrote.

        Raises:
            IndexFileError: it is missing, or not as it was written.
        """
        facts, paths = read_folder(folder, verify=verify)
        check_facts(facts, folder)
        try:
            alive, table = open_passages(paths, folder)
            exact = facts["kind"] == "exact"
            vectors = read_array(paths["vectors"], mmap=True) if exact else None
            words = set(FILES) <= set(paths)
            lexical = LexicalIndex.from_files({key: paths[key] for key in FILES}) if words else None
            graph = None if exact else Approximate.read(paths["vectors"])
            shape = (
                (len(graph), graph.dimension) if vectors is None and graph is not None else np.asarray(vectors).shape
            )
            check_together(facts, table, shape, whole=verify)
            if vectors is not None:
                check_vectors(vectors, whole=verify)
            if lexical is not None and len(lexical) != len(table):
                raise ValueError(f"the words of {len(table)} passages are expected, got those of {len(lexical)}")
        except IndexFileError:
            raise
        except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException) as error:
            raise IndexFileError(f"the index in {folder} cannot be read: {error}. Build it again.") from error
        searcher = ExactScan(np.asarray(vectors), device=device) if graph is None else graph
        state = cls(table, vectors, searcher, alive, words=words)
        if lexical is not None:
            table.__dict__["lexical"] = lexical
        return facts, state

    def _nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """`(Q, k)` scores and rows by vectors; what is added to a graph meanwhile is not found."""
        if isinstance(self.searcher, Approximate):
            return self.searcher.search(vectors, k, allowed=allowed, count=len(self.table))
        return self.searcher.search(vectors, k, allowed=allowed)

    def _reranked(
        self, queries: Sequence[str], rows: NDArray[np.int64], reranker: Reranker
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The rows of each query in the order in which the reranker has them, with its scores."""
        row_lists = [row[row >= 0] for row in rows]
        texts = [[_read(passage) for passage in self.table.take(row_list)] for row_list in row_lists]
        scores, ordered = np.full(rows.shape, -np.inf, np.float32), np.full(rows.shape, -1, np.int64)
        for i, (order, values) in enumerate(reranker.rerank(queries, texts)):
            scores[i, : len(order)], ordered[i, : len(order)] = values, row_lists[i][order]
        return scores, ordered

    def _apart(self, ranked: Ranked, k: int, diversity: float, *, cosines: bool) -> Ranked:
        """The k of each query's hits that are relevant, and unlike those before them."""
        scores, rows = np.full_like(ranked[0], -np.inf), np.full_like(ranked[1], -1)
        for i, (values, row) in enumerate(zip(*ranked, strict=True)):
            real = row[row >= 0]
            if len(real):
                relevance = values[: len(real)] if cosines else from_0_to_1(values[: len(real)])
                searcher = self.searcher
                vectors = searcher.vectors_of(real) if isinstance(searcher, Approximate) else searcher.vectors[real]
                order = diversified(relevance, vectors, k, diversity)
                scores[i, : len(order)], rows[i, : len(order)] = values[order], real[order]
        return scores, rows

    def _results(
        self,
        scores: NDArray[np.float32],
        rows: NDArray[np.int64],
        texts: Sequence[str | None] | None,
        *,
        around: int,
    ) -> SearchResults:
        """The hits that rows stand for."""
        real = rows >= 0
        distinct, places = np.unique(rows[real], return_inverse=True)
        passages = self.table.take(distinct)
        if around:
            beside = self.neighbours.around(distinct, around)
            passages = [{**passage, **further} for passage, further in zip(passages, beside, strict=True)]
        blank: Any = "" if self.table.ids.dtype.kind == "U" else -1
        ids = np.full(rows.shape, blank, dtype=self.table.ids.dtype)
        ids[real] = self.table.ids[rows[real]]
        hits, at = [], 0
        for i, count in enumerate(real.sum(axis=1).tolist()):
            own = [passages[position] for position in places[at : at + count].tolist()]
            query = None if texts is None else texts[i]
            hits.append(Hits(ids[i, :count], scores[i, :count], own, query=query, index=i))
            at += count
        return SearchResults(ids, scores, rows, hits)


def _read(passage: Mapping[str, Any]) -> str:
    """What a reranker reads of a passage."""
    return f"{passage['title']}\n{passage['text']}" if passage["title"] else str(passage["text"])


def _write_array(array: NDArray[Any], path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
