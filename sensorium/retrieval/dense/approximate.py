"""Approximate search with faiss: graphs (HNSW), inverted lists of quantized vectors, and its factory strings."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sensorium.errors import IndexFileError, OptionError

HNSW_LINKS = 32
"""Links of a vector in the graph; faiss's own default, and hnswlib's advice for some hundred dimensions."""

HNSW_WIDTH = 128
"""How many candidates a search of a graph keeps, at least; more find more, and take longer."""

PROBES = 32
"""Lists that a search of inverted lists looks through."""

FEW = 0.05
"""The share of rows below which those that are allowed in a graph are searched one by one."""

TRAINING = 256
"""Vectors for each centroid that are enough to train inverted lists with; faiss's own limit."""


class Approximate:
    """A faiss index of inner products; rows are numbered in the order in which vectors were added.

    Args:
        index: of faiss, trained.
    """

    def __init__(self, index: Any) -> None:
        self.index = index
        self._lock = threading.Lock()  # faiss cannot add and search at once

    @classmethod
    def of(cls, vectors: NDArray[np.float32], kind: str) -> Approximate:
        """Builds an index of vectors.

        Args:
            vectors: `(N, D)`.
            kind: "hnsw", "ivfpq", or a factory string of faiss, such as `"IVF1024,Flat"`.

        Raises:
            OptionError: faiss knows no such kind, or it needs more vectors to learn from.
        """
        index = _made(kind, *vectors.shape)
        try:
            index.train(_sample(vectors, index))
            index.add(vectors)
        except RuntimeError as error:
            raise OptionError(
                f"{len(vectors):,} vectors are too few for kind={kind!r} to learn from, or do not suit it: "
                f'{_reason(error)}. Use kind="exact".'
            ) from error
        return cls(index)

    @classmethod
    def read(cls, path: Path) -> Approximate:
        """Reads what `write` wrote."""
        try:
            return cls(faiss.read_index(str(path)))
        except (RuntimeError, MemoryError) as error:
            raise IndexFileError(f"{path} is not an index that this faiss can read: {_reason(error)}") from error

    @property
    def dimension(self) -> int:
        """Of a vector."""
        return int(self.index.d)

    def write(self, path: Path) -> None:
        """Writes faiss's own format."""
        faiss.write_index(self.index, str(path))

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Adds `(N, D)` vectors after those that are there."""
        with self._lock:
            self.index.add(np.ascontiguousarray(vectors))

    @property
    def keeps_vectors(self) -> bool:
        """Whether the vectors are kept as they are, as a graph keeps them."""
        return isinstance(faiss.downcast_index(self.index), (faiss.IndexHNSWFlat, faiss.IndexFlat))

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """`(K, D)`, the vectors of rows, where they are kept."""
        with self._lock:
            vectors: NDArray[np.float32] = self.index.reconstruct_batch(rows)
        return vectors

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
        count: int | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best rows found; like `ExactScan.search`, but approximate.

        Args:
            queries: `(Q, D)` float32.
            k: how many rows, from 1.
            allowed: `(N,)` bool, which rows may be found; None for all.
            count: how many rows there are for the caller, N; rows added since are not found.

        Returns:
            `(Q, k)` scores, -inf where fewer are found, and `(Q, k)` rows, -1 there.

        Raises:
            OptionError: `allowed` is given, and faiss cannot filter an index of this kind.
        """
        with self._lock:
            if allowed is None and count is not None and count < len(self):
                allowed = np.ones(count, dtype=np.bool_)
            scores, rows = self._search(np.ascontiguousarray(queries), k, allowed)
        return np.where(rows < 0, np.float32(-np.inf), scores), rows

    def _search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> Any:
        index, selector, share = self.index, {}, 1.0
        if allowed is not None:
            # faiss keeps the address alone: the bits have to outlive the search
            bits = np.packbits(allowed, bitorder="little")
            selector = {"sel": faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))}
            share = max(float(allowed.mean()), 1 / max(1, len(allowed)))
        inner = _inner(index)
        if isinstance(inner, faiss.IndexHNSW) and share < FEW:
            index = inner.storage  # all vectors as they are: the graph would lead past those few
        try:
            return index.search(queries, k, params=_parameters(index, k, share, selector))
        except RuntimeError as error:
            raise OptionError(
                f"{type(inner).__name__} cannot leave out passages, as where= and deletions require "
                f'({_reason(error)}). Use kind="exact", "hnsw" or "ivfpq".'
            ) from error


def check_kind(kind: str, width: int) -> None:
    """Refuses a kind that faiss does not know for vectors of that width.

    Raises:
        OptionError: it is none.
    """
    _made(kind, 1_000_000, width)


def _made(kind: str, count: int, width: int) -> Any:
    try:
        return faiss.index_factory(width, factory_string(kind, count, width), faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise OptionError(
            f'kind is "auto", "exact", "hnsw", "ivfpq" or a factory string of faiss for {width} dimensions, got '
            f"{kind!r}: {_reason(error)}"
        ) from error


def _inner(index: Any) -> Any:
    """The index that searches, below those that only transform vectors."""
    index = faiss.downcast_index(index)
    return _inner(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def _parameters(index: Any, k: int, share: float, selector: Mapping[str, Any]) -> Any:
    """How widely to search for `k` among a share of the rows; with a transform, as its own kind of parameters."""
    inner = _inner(index)
    parameters = None
    if isinstance(inner, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(efSearch=int(max(HNSW_WIDTH, 2 * k) / share), **selector)
    elif isinstance(inner, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(nprobe=min(inner.nlist, int(PROBES / share) + 1), **selector)
    elif selector:
        parameters = faiss.SearchParameters(**selector)
    if parameters is not None and isinstance(faiss.downcast_index(index), faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=parameters, **selector)
    return parameters


def factory_string(kind: str, count: int, width: int) -> str:
    """What faiss calls a kind of ours, for so many vectors of such a width; its own strings stay as they are.

    Inverted lists number about four times the root of the count, as faiss's guidelines have it, and their vectors are
    quantized to bytes for four dimensions each: a twelfth of float32's size and less. "np" leaves out faiss's annealing
    of the codes' order, which takes seconds for each byte and changes nothing here: only its polysemous search, which
    compares codes by their bits, would gain from it.
    """
    if kind == "hnsw":
        return f"HNSW{HNSW_LINKS}"
    if kind == "ivfpq":
        lists = max(1, min(65_536, int(4 * count**0.5), count // 39 or 1))
        codes = next(n for n in (width // 4, width // 8, width // 3, width // 2, 1) if n >= 1 and width % n == 0)
        return f"IVF{lists},PQ{codes}np"
    return kind


def _sample(vectors: NDArray[np.float32], index: Any) -> NDArray[np.float32]:
    """Vectors to train with: as many as faiss would use, evenly from all, so that no more are read."""
    enough = TRAINING * max(256, getattr(index, "nlist", 256))
    if len(vectors) <= enough:
        return vectors
    return np.ascontiguousarray(vectors[np.linspace(0, len(vectors) - 1, enough).astype(np.int64)])


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][-200:]
