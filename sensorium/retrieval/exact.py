"""Exact search for the largest inner products: a scan in few bits, float32 for the best, and a proof for each query.

The scan multiplies bfloat16 copies of the vectors, in tiles, and keeps a few more rows than are asked for. Their
products are then computed in float32. Rounding moves a product by no more than a bound that is known from the norms of
what rounding left over, so that the cutoff of the scan tells how large a product can be among the rows that were not
kept. Where that is below the last one found, the result is what float32 finds among all rows; where it is not, the
query is scanned again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.pipelines.placement import multiplies_bfloat16
from sensorium.retrieval.selection import Tile, keep_best, keep_best_on_device

TILE = 4_096
"""Rows that are multiplied at once for many queries; and whose products in float32 are computed at once."""

WIDE_TILE = 16_384
"""Rows of the first tile, from which the threshold comes, and of the copy that is made at once."""

PRODUCTS = 2**20
"""Products of a tile, for few queries: they stay in the cache until the best are found."""

DEVICE_TILE = 262_144
"""The same on a GPU."""

TOGETHER = 1_024
"""Queries that are searched at once."""

GATHERED = 0.25
"""The share of rows below which those that are allowed are taken out of the others, instead of masking the others."""

FLOAT32_ROUNDING = 2.0**-24
BFLOAT16_ROUNDING = 2.0**-8
"""What rounding to a type changes at the most, relative to the value; for bfloat16 that of cutting off."""


@dataclass(frozen=True)
class Norms:
    """What the bounds are made of: the largest Euclidean norms among the vectors, and among what rounding left over."""

    vectors: float
    left_over: float


class ExactScan:
    """Searches `(N, D)` vectors for the rows with the largest inner products.

    Besides the vectors, which may be mapped into memory from a file and of which a search reads only candidates, it
    holds a bfloat16 copy of half their size where the device multiplies that natively. A search takes some 100 MB more.

    Args:
        vectors: `(N, D)` float32, finite, C-contiguous.
        device: where they are scanned.
        dtype: in which they are scanned; None for bfloat16 where the device multiplies it natively, else float32.

    Attributes:
        scanned_again: how many queries had to be scanned again, in float32, because the proof did not hold.
        computed_whole: how many of them had to have all products computed, because of ties at the cutoff.
    """

    def __init__(
        self, vectors: NDArray[np.float32], *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self.vectors = vectors
        self.device = device or torch.device("cpu")
        self.dtype = dtype or (torch.bfloat16 if multiplies_bfloat16(self.device) else torch.float32)
        self.scanned_again = self.computed_whole = 0
        self._coarse, self._norms = _coarse_copy(vectors, self.dtype, self.device)

    def __len__(self) -> int:
        return len(self.vectors)

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
        """
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        count = len(self) if allowed is None else int(allowed.sum())
        found = min(k, count)
        if not found:
            return scores, rows
        with torch.inference_mode():
            for start in range(0, len(queries), TOGETHER):
                some = slice(start, start + TOGETHER)
                scores[some, :found], rows[some, :found] = self._search(queries[some], found, allowed, count)
        return scores, rows

    def _search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        width = max(2 * k, k + 32)
        scores, rows, proven = self._scan(queries, k, allowed, width=min(count, width), dtype=self.dtype)
        if not proven.all():
            (open_,) = (~proven).nonzero()
            self.scanned_again += len(open_)
            wider = min(count, 4 * width)
            again = self._scan(queries[open_], k, allowed, width=wider, dtype=torch.float32)
            scores[open_], rows[open_], proven = again
            for query in open_[~proven]:
                self.computed_whole += 1
                scores[query], rows[query] = self._compute_all(queries[query], k, allowed)
        return scores, rows

    def _scan(
        self,
        queries: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.bool_] | None,
        *,
        width: int,
        dtype: torch.dtype,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
        """The best k of each query's `width` best rows, and whether no other row can be among the best k."""
        exact = torch.from_numpy(queries)
        rounded = exact.to(self.device, dtype)
        tiles = self._tiles(allowed, dtype, len(queries))
        keep = keep_best_on_device if self.device.type == "cuda" else keep_best
        found, candidates = (t.cpu() for t in keep(tiles, rounded, width))
        slack = self._slack(exact, rounded.cpu().float(), dtype)
        # of the rows that were kept, those that can be among the best
        kth = found.sort(dim=1, descending=True).values[:, k - 1]
        lowest = _least(kth, dtype) - 2 * slack
        hopeful = (_most(found, dtype) >= lowest[:, None]) & (candidates >= 0)
        scores, rows = self._rerank(queries, candidates.numpy(), hopeful.numpy(), k)
        cutoff = found.min(dim=1).values  # what was left out is no larger in the scan
        proven = _most(cutoff, dtype) + slack < torch.from_numpy(scores[:, -1])
        if width == (len(self) if allowed is None else int(allowed.sum())):
            proven[:] = True  # nothing was left out
        return scores, rows, proven.numpy()

    def _tiles(self, allowed: NDArray[np.bool_] | None, dtype: torch.dtype, queries: int) -> Iterator[Tile]:
        """Vectors on the device, their rows, and which of them are not allowed."""
        size = max(TILE, min(DEVICE_TILE, PRODUCTS // max(1, queries)))
        if self.device.type == "cuda":
            size = DEVICE_TILE
        few = None if allowed is None or allowed.mean() >= GATHERED else np.flatnonzero(allowed)
        gathered = few is not None
        every = torch.from_numpy(np.arange(len(self)) if few is None else few)
        start = 0
        while start < len(every):
            rows = every[start : start + (max(WIDE_TILE, size) if start == 0 else size)]
            at = slice(start, start + len(rows))
            start = at.stop
            if dtype == self.dtype:
                tile = self._coarse[rows.to(self.device)] if gathered else self._coarse[at]
            else:
                tile = torch.from_numpy(np.array(self.vectors[rows.numpy() if gathered else at])).to(self.device)
            barred = None if gathered or allowed is None else torch.from_numpy(~allowed[at]).to(self.device)
            yield tile, rows.to(self.device), barred

    def _slack(self, exact: Tensor, rounded: Tensor, dtype: torch.dtype) -> Tensor:
        """`(Q,)`, how far a product of the scan is from float32's at the most, but for the rounding of its own value.

        By Cauchy and Schwarz |q·x - q'·x'| ≤ |q - q'|·|x| + |q'|·|x - x'|; and D sums in float32 are off by at most
        D·2⁻²⁴·|q|·|x|, here and where the candidates are computed.
        """
        length = exact.double().norm(dim=1)
        off = (exact.double() - rounded.double()).norm(dim=1) * self._norms.vectors
        if dtype != torch.float32:
            off += rounded.double().norm(dim=1) * self._norms.left_over
        sums = 2 * (exact.shape[1] + 2) * FLOAT32_ROUNDING * length * self._norms.vectors
        slack: Tensor = (off + sums).float() * (1 + 1e-5)
        return slack

    def _rerank(
        self, queries: NDArray[np.float32], candidates: NDArray[np.int64], hopeful: NDArray[np.bool_], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best k candidates of each query by their products in float32."""
        scores = np.full(candidates.shape, -np.inf, np.float32)
        at, places = hopeful.nonzero()
        wanted = candidates[at, places]
        for start in range(0, len(wanted), TILE):
            some = slice(start, start + TILE)
            scores[at[some], places[some]] = self._products(queries[at[some]], wanted[some])
        rows = np.where(hopeful, candidates, np.iinfo(np.int64).max)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

    def _compute_all(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rows = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        parts = [self._products(query[None], rows[i : i + TILE]) for i in range(0, len(rows), TILE)]
        scores = np.concatenate(parts)
        order = np.lexsort((rows, -scores))[:k]
        return scores[order], rows[order]

    def _products(self, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """`(M,)` float32 inner products of rows, each summed by itself: the same whatever stands beside it."""
        vectors = torch.from_numpy(np.take(self.vectors, rows, axis=0))
        return vectors.mul_(torch.from_numpy(queries)).sum(dim=1).numpy()


def _most(value: Tensor, dtype: torch.dtype) -> Tensor:
    """The largest number that may have been rounded to a product of the scan."""
    return value if dtype == torch.float32 else value + value.abs() * BFLOAT16_ROUNDING


def _least(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value if dtype == torch.float32 else value - value.abs() * BFLOAT16_ROUNDING


def _coarse_copy(vectors: NDArray[np.float32], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Norms]:
    """The vectors on a device in the scan's dtype, and the norms; no copy where they are there already."""
    same = dtype == torch.float32
    if same:  # torch takes no array that is not to be written to
        coarse = torch.from_numpy(vectors if vectors.flags.writeable else vectors.copy()).to(device)
    else:
        coarse = torch.empty(vectors.shape, dtype=dtype, device=device)
    longest = left_over = 0.0
    for start in range(0, len(vectors), WIDE_TILE):
        tile = torch.from_numpy(np.array(vectors[start : start + WIDE_TILE]))
        longest = max(longest, float(tile.norm(dim=1).max()))
        if not same:
            rounded = tile.to(dtype)
            coarse[start : start + WIDE_TILE] = rounded
            left_over = max(left_over, float(tile.sub_(rounded.float()).norm(dim=1).max()))
    more = 1 + 1e-4  # for the rounding of the norms themselves
    return coarse, Norms(longest * more, left_over * more)
