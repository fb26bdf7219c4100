"""Exact search for the largest inner products: a scan in few bits, float32 for the best, and a proof for each query.

The scan multiplies copies of the vectors in int8, float16 or bfloat16, in tiles. Rounding moves a product by no more
than a bound, known from the norms of what it left over. A row whose product with its bound falls below the k-th best
float32 product found so far is not among the best k; all others have their products computed in float32. Where too many
are left, the bounds tell too little, and the query is scanned again in float32. So the result is what float32 finds
among all rows.

On a GPU the scan keeps a fixed number of rows for each query, those whose products with their bounds are largest. The
CPU computes their float32 products, from the same vectors and in the same way as ever, while the GPU scans for the next
queries. If the k-th best is above the smallest that was kept, no row that was left out is among the best k. If not, the
query is scanned again, in float32 on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import InputError
from sensorium.models.on_device import sent
from sensorium.retrieval.dense import device_scan, flat_scan
from sensorium.retrieval.dense.coarse import Coarse, CoarseQueries, coarse_copy, mapped
from sensorium.retrieval.dense.device_scan import DeviceScan, Pending
from sensorium.retrieval.dense.rounding import GROUP
from sensorium.retrieval.dense.selection import RowCandidates, Tile, room

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

GATHERED = {"cpu": 0.2, "cuda": 0.003}
"""The share of rows below which those that are allowed are multiplied in float32 on the CPU, not all in few bits.

A GPU scans all in the time in which a CPU gathers some of a hundred.
"""

MOST_OPEN = 0.1
"""The share of queries left open by faiss's scan beyond which it is not asked again: it does not suit the vectors."""

Found = tuple[Tensor, Tensor, Tensor]
"""`(B, k)` float32 products and `(B, k)` int64 rows, and `(B,)` bool, the queries of which they do not hold."""


class ExactScan:
    """Searches `(N, D)` vectors for the rows with the largest inner products.

    Besides the vectors, which may be mapped into memory from a file and of which a search reads only candidates, it
    holds a copy of a quarter of their size (int8, where the CPU multiplies it natively), of half (bfloat16; float16 in
    the memory of a GPU), or none (float32, on a CPU). A search takes up to 300 MB more, and on a GPU 1.5 GB of its
    memory, however many vectors there are, for any k up to 4,000.

    Args:
        vectors: `(N, D)` float32, finite, C-contiguous.
        device: where they are scanned; a CUDA device or the CPU.
        dtype: what they are scanned in: int8 (on the CPU), float16 (on CUDA), bfloat16, float32; None for the fastest.
        coarse: the vectors as `coarse_copy` gave them, on that device; None to copy them now.

    Attributes:
        coarse: the vectors as they are scanned.
        scanned_again: how many queries had to be scanned again, in float32.

    Raises:
        OptionError: the dtype is not multiplied there, or the copy does not fit into the GPU's memory.
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
        self._flat = True
        self._exact = mapped(vectors)
        with torch.inference_mode():
            self.coarse = coarse or coarse_copy(self._exact, dtype=dtype, device=self.device)
            self._on_device = DeviceScan(self.coarse) if self.device.type == "cuda" else None

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
        step = max(1, min(self.together, CANDIDATES // room(reachable)))
        with torch.inference_mode():
            asked = mapped(np.ascontiguousarray(queries))
            self._check(asked)
            parts = asked.split(step)
            for at, part, found in zip(
                range(0, len(asked), step), parts, self._searched(parts, reachable, mask), strict=True
            ):
                best, where = self._again(part, reachable, mask, found)
                scores[at : at + step, :reachable], rows[at : at + step, :reachable] = best.numpy(), where.numpy()
        return scores, rows

    @property
    def together(self) -> int:
        """How many queries are searched at once, at most: for so many the vectors are read once."""
        return TOGETHER if self._on_device is None else device_scan.TOGETHER

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

    def _searched(self, parts: Sequence[Tensor], k: int, allowed: Tensor | None) -> Iterator[Found]:
        """What is found for each part of the queries, in order."""
        if allowed is not None and float(allowed.float().mean()) < GATHERED[self.device.type]:
            (few,) = allowed.nonzero(as_tuple=True)
            yield from (self._scan(queries, k, self._in_float32, few) for queries in parts)
        elif self._on_device is None:
            yield from (self._scanned_here(queries, k, allowed) for queries in parts)
        else:
            yield from self._scanned_on_device(self._on_device, parts, k, allowed)

    def _again(self, queries: Tensor, k: int, allowed: Tensor | None, found: Found) -> tuple[Tensor, Tensor]:
        """The best k of B queries, in float32 those of which few bits do not tell."""
        scores, rows, open_ = found
        if open_.any():
            self.scanned_again += int(open_.sum())
            scores[open_], rows[open_], _ = self._scan(queries[open_], k, self._in_float32, allowed)
        return scores, rows

    @property
    def _in_float32(self) -> Coarse:
        return self.coarse.exactly(self._exact)

    def _scan(self, queries: Tensor, k: int, vectors: Coarse, which: Tensor | None) -> Found:
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

    def _scanned_here(self, queries: Tensor, k: int, allowed: Tensor | None) -> Found:
        """What is found by the fastest scan of a CPU."""
        flat = self._flat and allowed is None and self.dtype == torch.float32
        if not flat or not flat_scan.suits(len(queries), len(self), k):
            return self._scan(queries, k, self.coarse, allowed)
        asked = CoarseQueries.of(queries, torch.float32, self.device)
        upper, rows, least = flat_scan.flat_scan(asked, self.vectors, self._in_float32, k)
        scores, rows, open_ = self._looked_at(asked, upper, rows, least, k)
        self._flat = int(open_.sum()) < len(open_) * MOST_OPEN
        return scores, rows, open_

    def _scanned_on_device(
        self, scan: DeviceScan, parts: Sequence[Tensor], k: int, allowed: Tensor | None
    ) -> Iterator[Found]:
        """The same on a GPU, which goes on to the next part while the CPU looks at what was found for one."""
        count = len(self) if allowed is None else int(allowed.sum())
        width = min(count, max(2 * k, k + 32))
        every = None if allowed is None else sent(allowed, self.device)
        waiting: tuple[CoarseQueries, Pending] | None = None
        for part in parts:
            asked = CoarseQueries.of(part, self.dtype, self.device)
            started = asked, scan.start(asked, width, every)
            if waiting is not None:
                yield self._brought(*waiting, k, count)
            waiting = started
        if waiting is not None:
            yield self._brought(*waiting, k, count)

    def _brought(self, asked: CoarseQueries, pending: Pending, k: int, count: int) -> Found:
        """The best k of what a GPU has found among `count` rows."""
        upper, rows = pending.wait()
        least = upper.amin(1) if upper.shape[1] < count else torch.full((len(upper),), -torch.inf)
        return self._looked_at(asked, upper, rows, least, k)

    def _looked_at(self, asked: CoarseQueries, upper: Tensor, rows: Tensor, least: Tensor, k: int) -> Found:
        """The best k by their float32 products, and of which queries it cannot be told that those are all.

        Args:
            asked: B queries.
            upper: `(B, W)` float32, than which products are not larger; -inf for no row.
            rows: `(B, W)` int64.
            least: `(B,)` float32, than which the products of all other rows are not larger.
            k: how many are wanted, no more than W.
        """
        best = RowCandidates(asked, self._exact, k, budget=rows.shape[1])
        rows, order = rows.sort(dim=1)
        (query, at), upper = (upper > -torch.inf).gather(1, order).nonzero(as_tuple=True), upper.gather(1, order)
        best.add(query, rows[query, at], upper[query, at])
        scores, rows = best.best()
        return scores, rows, least >= scores[:, -1]


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
