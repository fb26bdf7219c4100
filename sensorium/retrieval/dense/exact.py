"""Exact search for the largest inner products: a scan in few bits, float32 for the best, and a proof for each query.

The scan multiplies copies of the vectors in int8 or bfloat16, in tiles. Rounding moves a product by no more than a
bound, known from the norms of what it left over. A row whose product with its bound falls below the k-th best float32
product found so far is not among the best k; all others have their products computed in float32. Where too many are
left, the bounds tell too little, and the query is scanned again in float32. So the result is what float32 finds among
all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import InputError
from sensorium.models.on_device import brought, sent
from sensorium.retrieval.dense.coarse import GROUP, Coarse, CoarseQueries, coarse_copy, mapped
from sensorium.retrieval.dense.selection import RowCandidates, Tile, keep_best_on_device, room

PRODUCTS = 2**21
"""Products of a tile: they stay in the cache until the best are found."""

LEAST_TILE, MOST_TILE = 1_024, 262_144
"""Rows of a tile, whatever the number of queries."""

FIRST_TILE = 16_384
"""Rows of the first tile at least, from which it comes what the others are compared with."""

TOGETHER = 1_024
"""Queries that are searched at once, at most."""

CANDIDATES = 2**22
"""Candidates of all queries that are searched at once."""

GATHERED = 0.2
"""The share of rows below which those that are allowed are multiplied in float32, instead of all in few bits."""


class ExactScan:
    """Searches `(N, D)` vectors for the rows with the largest inner products.

    Besides the vectors, which may be mapped into memory from a file and of which a search reads only candidates, it
    holds a copy of a quarter of their size (int8, where the CPU multiplies it natively), of half (bfloat16), or none
    (float32). A search takes up to 300 MB more, however many vectors there are, for any k up to 4,000.

    Args:
        vectors: `(N, D)` float32, finite, C-contiguous.
        device: where they are scanned; a CUDA device or the CPU.
        dtype: what they are scanned in: int8 (on the CPU), bfloat16 or float32; None for the fastest.
        coarse: the vectors as `coarse_copy` gave them, on that device; None to copy them now.

    Attributes:
        coarse: the vectors as they are scanned.
        scanned_again: how many queries had to be scanned again, in float32.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        coarse: Coarse | None = None,
    ) -> None:
        self.vectors = vectors
        self.device = device if device is not None and device.type == "cuda" else torch.device("cpu")
        self.scanned_again = 0
        self._exact = mapped(vectors)
        with torch.inference_mode():
            self.coarse = coarse or coarse_copy(self._exact, dtype=dtype, device=self.device)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dtype(self) -> torch.dtype:
        """In which the vectors are scanned."""
        return self.coarse.values.dtype

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k rows with the largest inner products for each of Q queries, best first; of equal ones the lower row.

        Args:
            queries: `(Q, D)` float32, finite.
            k: how many rows, from 1.
            allowed: `(N,)` bool, which rows may be found; None for all.

        Returns:
            `(Q, k)` float32 inner products, and `(Q, k)` int64 rows; -inf and -1 where fewer rows are allowed.

        Raises:
            InputError: `bad-vectors`: the products may be too large for float32.
        """
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        reachable = min(k, len(self) if allowed is None else int(allowed.sum()))
        if not reachable or not len(queries):
            return scores, rows
        mask = None if allowed is None else torch.from_numpy(allowed)
        step = max(1, min(TOGETHER, CANDIDATES // room(reachable)))
        with torch.inference_mode():
            asked = mapped(np.ascontiguousarray(queries))
            self._check(asked)
            for some, part in zip(asked.split(step), range(0, len(asked), step), strict=True):
                best, where = self._search(some, reachable, mask)
                scores[part : part + step, :reachable], rows[part : part + step, :reachable] = (
                    best.numpy(),
                    where.numpy(),
                )
        return scores, rows

    def _check(self, queries: Tensor) -> None:
        longest = float(queries.double().norm(dim=1).max()) * float((self.coarse.longest + self.coarse.left_over).max())
        if math.isnan(longest):
            raise InputError(
                "the query's vector is not finite (NaN or infinity): its model overflows, as some do in float16, or "
                'its weights are broken. Use dtype="float32", or "bfloat16"',
                code="not-finite",
            )
        if not longest < torch.finfo(torch.float32).max:
            raise InputError(
                "the inner products of such queries and vectors may be too large for float32; divide them by their "
                "largest norm",
                code="bad-vectors",
            )

    def _search(self, queries: Tensor, k: int, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        """The best k of B queries."""
        if allowed is not None and float(allowed.float().mean()) < GATHERED:
            (few,) = allowed.nonzero(as_tuple=True)
            scores, rows, _ = self._scan(queries, k, self._in_float32, few)
            return scores, rows
        if self.device.type == "cuda":
            scores, rows, open_ = self._scan_on_device(queries, k, allowed)
        else:
            scores, rows, open_ = self._scan(queries, k, self.coarse, allowed)
        if open_.any():
            self.scanned_again += int(open_.sum())
            scores[open_], rows[open_], _ = self._scan(queries[open_], k, self._in_float32, allowed)
        return scores, rows

    @property
    def _in_float32(self) -> Coarse:
        return self.coarse.exactly(self._exact)

    def _scan(self, queries: Tensor, k: int, vectors: Coarse, which: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The best k, their rows, and which queries were given up, of which there is none in float32.

        Args:
            queries: `(B, D)` float32.
            k: no more than there are rows.
            vectors: in the dtype of the scan.
            which: `(N,)` bool, the rows that may be found; or `(M,)` int64, the only ones to look at; None for all.
        """
        dtype = vectors.values.dtype
        asked = CoarseQueries.of(queries, dtype, torch.device("cpu"))
        budget = len(self) if dtype == torch.float32 else max(len(self) // 64, room(k))
        best = RowCandidates(asked, self._exact, k, budget=budget)
        size = max(LEAST_TILE, min(MOST_TILE, PRODUCTS // len(queries) // GROUP * GROUP))
        product: Tensor | None = None
        for tile in _tiles(vectors, which, size, max(size, FIRST_TILE)):
            again = product is not None and product.shape[1] == len(tile)
            product = _multiply(asked.values, tile.vectors.values, product if again else None)
            best.offer(product, tile)
        scores, rows = best.best()
        return scores, rows, best.given_up

    def _scan_on_device(self, queries: Tensor, k: int, allowed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The same on a GPU, which keeps a fixed number of rows, and whether it cannot be told that they suffice."""
        asked = CoarseQueries.of(queries, self.dtype, self.device)
        count = len(self) if allowed is None else int(allowed.sum())
        width = min(count, max(2 * k, k + 32))
        every = None if allowed is None else sent(allowed, self.device)
        tiles = _tiles(self.coarse, every, MOST_TILE, MOST_TILE)
        products, rows = brought(keep_best_on_device(tiles, asked.values, width))
        bound = asked.of_left_over * self.coarse.left_over.max() + asked.of_longest * self.coarse.longest.max()
        bound += asked.always
        best = RowCandidates(asked, self._exact, k, budget=count)
        rows, order = rows.sort(dim=1)  # -1 comes first, and is none
        query, at = (rows >= 0).nonzero(as_tuple=True)
        best.add(query, rows[query, at], products.gather(1, order)[query, at] + bound[query])
        scores, rows = best.best()
        open_ = products.amin(1) + bound >= scores[:, -1]  # what was left out is no larger in the scan
        return scores, rows, torch.zeros_like(open_) if width == count else open_


def _tiles(vectors: Coarse, which: Tensor | None, size: int, first: int) -> Iterator[Tile]:
    """Vectors, their rows, and which of them are allowed, in tiles of which the first may be larger."""
    few = which if which is not None and which.dtype == torch.int64 else None
    count = len(vectors.values) if few is None else len(few)
    start = 0
    while start < count:
        at = slice(start, min(count, start + (first if start == 0 else size)))
        if few is not None:
            yield Tile(vectors.gathered(few[at]), few[at], None)
        else:
            groups = slice(at.start // GROUP, -(-at.stop // GROUP))
            bounds = (bound[groups] for bound in (vectors.scales, vectors.left_over, vectors.longest))
            yield Tile(Coarse(vectors.values[at], *bounds), start, None if which is None else which[at])
        start = at.stop


def _multiply(queries: Tensor, vectors: Tensor, out: Tensor | None) -> Tensor:
    """`(B, T)` products; int32 of int8, else in the dtype of the values."""
    if out is None:
        kind = torch.int32 if vectors.dtype == torch.int8 else vectors.dtype
        out = torch.empty((len(queries), len(vectors)), dtype=kind)
    if vectors.dtype == torch.int8:
        return torch._int_mm(queries, vectors.T, out=out)
    return torch.mm(queries, vectors.T, out=out)
