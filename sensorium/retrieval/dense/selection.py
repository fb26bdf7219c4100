"""The best rows of each query, from bounds of products: only rows that can be among the best are looked at closely."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.retrieval.dense.coarse import Coarse, CoarseQueries
from sensorium.retrieval.dense.products import inner_products
from sensorium.retrieval.dense.rounding import GROUP

ROOM = 32
"""Candidates of a query, as a multiple of k, beyond which their float32 products are computed before going on."""

LEAST_ROOM = 1_024

OUT_OF_REACH = 2.0**30
"""More than any sum of int8 products, less than int32 can hold."""


@dataclass(frozen=True)
class Tile:
    """Rows that are multiplied at once.

    Attributes:
        vectors: their values, scales and bounds.
        rows: `(T,)` int64, or the number of the first where they follow each other.
        allowed: `(T,)` bool, which of them may be found; None for all.
    """

    vectors: Coarse
    rows: Tensor | int
    allowed: Tensor | None

    def __len__(self) -> int:
        return len(self.vectors.values)


def room(k: int) -> int:
    """How many candidates of a query are kept before their float32 products are computed."""
    return max(ROOM * k, LEAST_ROOM)


class RowCandidates:
    """Rows that can be among the k best of B queries.

    Of the products of a tile, the largest of each 32 is compared with what is needed: the k-th best float32 product so
    far, less the bound of what rounding can have changed. Rows that pass become candidates. Whenever twice as many rows
    have been seen, float32 products of the best candidates raise what is needed, and those that fall below it go. Where
    tiles are multiplied in float32, bounds are so narrow that what candidates reach at least raises it as well, and
    only the products of the last are computed again.

    It holds up to `2 * room(k)` candidates for each query, and those of a tile, of 20 bytes.

    Args:
        queries: in the dtype in which the tiles are scanned.
        vectors: `(N, D)` float32, on the CPU; it is read at candidates' rows.
        k: how many rows are wanted.
        budget: how many float32 products may be computed for a query when candidates overflow; beyond that the query is
            given up.

    Attributes:
        given_up: `(B,)` bool, queries that the scan cannot decide.
    """

    def __init__(self, queries: CoarseQueries, vectors: Tensor, k: int, *, budget: int) -> None:
        self._queries, self._vectors, self._k, self._budget = queries, vectors, k, budget
        count = len(queries.exact)
        self.given_up = torch.zeros(count, dtype=torch.bool)
        self._needed = torch.full((count,), -torch.inf)
        self._spent = torch.zeros(count, dtype=torch.int64)
        self._narrow = queries.values.dtype == torch.float32
        self._seen = self._settled = 0
        parts = (queries.of_left_over, queries.of_longest, queries.always)
        self._counts: Tensor
        self._rows: Tensor
        self._upper: Tensor
        self._lower: Tensor
        self._exact: Tensor
        self._of_left_over, self._of_longest, self._always = ((-part / queries.scales)[:, None] for part in parts)
        self._empty()

    def offer(self, products: Tensor, tile: Tile) -> None:
        """Takes rows that can be among the best.

        Args:
            products: `(B, T)` int32 or floating-point products of values; they may be written to.
            tile: what they are products of.
        """
        gap = -products.shape[1] % GROUP
        if products.dtype == torch.bfloat16:
            products = products.float()  # far faster than the largest of bfloat16
        nothing = torch.iinfo(torch.int32).min if products.dtype == torch.int32 else -torch.inf
        if tile.allowed is not None:
            products.masked_fill_(~tile.allowed, nothing)
        if gap:
            products = torch.nn.functional.pad(products, (0, gap), value=nothing)
        bounds = self._bounds(tile.vectors)
        if not self._seen:
            self._start(products, tile, bounds)
        self._take(products, tile, bounds, self._lowest(tile.vectors.scales, bounds))
        self._seen += len(tile)
        if self._seen >= 2 * self._settled or int(self._counts.max()) > room(self._k):
            self._settle()

    def add(self, query: Tensor, rows: Tensor, upper: Tensor, lower: Tensor | None = None) -> None:
        """Takes candidates.

        Args:
            query: `(M,)` int64, ascending.
            rows: `(M,)` int64, ascending for each query, and above those that it has.
            upper: `(M,)` float32, than which their float32 products are not larger.
            lower: `(M,)` float32, than which they are not smaller; None where that is not known.
        """
        if not len(query):
            return
        added = torch.bincount(query, minlength=len(self._counts))
        before = self._counts - (added.cumsum(0) - added)
        self._counts = self._counts + added
        self._widen(int(self._counts.max()))
        before += torch.arange(len(before)) * self._rows.shape[1]
        at = before[query] + torch.arange(len(query))
        self._rows.view(-1)[at], self._upper.view(-1)[at] = rows, upper
        if lower is not None:
            self._lower.view(-1)[at] = lower

    def best(self) -> tuple[Tensor, Tensor]:
        """`(B, k)` float32 products and `(B, k)` int64 rows, best first, of equal ones the lower row.

        Queries that were given up have -inf and 0.
        """
        self._settle(finish=True)
        gap = (0, max(0, self._k - self._exact.shape[1]))
        exact = torch.nn.functional.pad(self._exact, gap, value=-torch.inf)
        rows = torch.nn.functional.pad(self._rows, gap)
        scores, order = exact.sort(dim=1, descending=True, stable=True)
        return scores[:, : self._k], rows.gather(1, order[:, : self._k])

    def _bounds(self, vectors: Coarse) -> Tensor:
        """`(B, G)`, minus how far float32 products are from those of values at most, but for `spread`.

        In the unit of the products.
        """
        # not a matrix product, of which a setting may allow fewer bits
        bounds = self._of_left_over * (vectors.left_over / vectors.scales)
        bounds.addcmul_(self._of_longest, vectors.longest / vectors.scales)
        return bounds.addcmul_(self._always, 1 / vectors.scales)

    def _lowest(self, scales: Tensor, bounds: Tensor) -> Tensor:
        """`(B, G)`, what a product must reach for its row to be a candidate."""
        lowest = torch.addcmul(bounds, (self._needed / self._queries.scales)[:, None], 1 / scales)
        return lowest.sub_(lowest.abs() * self._queries.spread) if self._queries.spread else lowest

    def _start(self, products: Tensor, tile: Tile, bounds: Tensor) -> None:
        """What k rows reach: first by their bounds, then by their float32 products."""
        scales, grouped = tile.vectors.scales, products.view(len(products), -1, GROUP)
        largest = grouped.amax(2, keepdim=True)
        value = (largest if largest.shape[1] >= 2 * self._k else grouped).float()
        if value[0].numel() < self._k:
            return
        lower = (value - value.abs() * self._queries.spread + bounds[:, :, None]) * scales[:, None]
        lower[value <= -OUT_OF_REACH] = -torch.inf
        lower *= self._queries.scales[:, None, None]
        self._needed = lower.flatten(1).topk(self._k, dim=1).values[:, -1]
        # those whose least is above, which are k or a few more
        self._take(products, tile, bounds, self._lowest(scales, -bounds))
        self._raise()
        self._empty()

    def _take(self, products: Tensor, tile: Tile, bounds: Tensor, lowest: Tensor) -> None:
        """Makes candidates of the rows whose products are at least `lowest`, `(B, G)`."""
        if products.dtype == torch.int32:
            lowest = lowest.floor_().clamp_(-OUT_OF_REACH, OUT_OF_REACH).int()
        else:
            lowest.clamp_(min=torch.finfo(torch.float32).min)  # what is not allowed never passes
        groups = products.view(-1, GROUP)
        near = _places(groups.amax(1) >= lowest.view(-1))
        values, limits = groups.index_select(0, near), lowest.view(-1).index_select(0, near)
        hits = _places(values >= limits[:, None])
        near = near.index_select(0, hits // GROUP)
        query = near // lowest.shape[1]
        group = near - query * lowest.shape[1]
        position, value = group * GROUP + hits % GROUP, values.view(-1).index_select(0, hits).float()
        bound = bounds.view(-1).index_select(0, near)
        rows = tile.rows + position if isinstance(tile.rows, int) else tile.rows[position]
        if self._narrow:
            self.add(query, rows, value - bound, value + bound)
            return
        upper = value.mul_(1 + self._queries.spread * value.sign()) if self._queries.spread else value
        upper = upper.sub_(bound).mul_(tile.vectors.scales.index_select(0, group))
        self.add(query, rows, upper.mul_(self._queries.scales.index_select(0, query)))

    def _raise(self) -> None:
        """Raises what is needed to the k-th best float32 product, having computed those that promise most."""
        width = self._rows.shape[1]
        if width < self._k:
            return
        if self._narrow:
            reached = torch.maximum(self._lower, self._exact).topk(self._k, dim=1).values[:, -1]
            self._needed = torch.maximum(self._needed, reached)
            return
        best = self._upper.topk(self._k, dim=1, sorted=False).indices
        new = (self._exact.gather(1, best) == -torch.inf) & (best < self._counts[:, None])
        best += torch.arange(len(best))[:, None] * width
        self._compute(best.view(-1)[_places(new)])
        self._needed = torch.maximum(self._needed, self._exact.topk(self._k, dim=1).values[:, -1])

    def _settle(self, *, finish: bool = False) -> None:
        """Releases candidates that cannot be among the best."""
        self._settled = self._seen
        self._raise()
        unknown = self._exact == -torch.inf
        keep = torch.where(unknown, self._upper, self._exact) >= self._needed[:, None]
        keep &= torch.arange(keep.shape[1]) < self._counts[:, None]
        full = torch.full_like(self.given_up, True) if finish else keep.sum(1) > room(self._k) // 2
        if full.any():
            unknown &= keep & full[:, None]
            self._compute(_places(unknown))
            if not finish:
                self._give_up(unknown.sum(1), keep)
            self._keep_best(full, keep)
        self._keep(_places(keep))

    def _compute(self, at: Tensor) -> None:
        """Computes the float32 products of candidates."""
        rows, query = self._rows.view(-1)[at], at // max(1, self._rows.shape[1])
        self._exact.view(-1)[at] = inner_products(self._vectors, rows, self._queries.exact, query)

    def _give_up(self, spent: Tensor, keep: Tensor) -> None:
        self._spent += spent
        self.given_up |= self._spent > self._budget
        self._needed[self.given_up] = torch.inf
        keep[self.given_up] = False

    def _keep_best(self, full: Tensor, keep: Tensor) -> None:
        """Of queries whose candidates' products are all known, keeps the k best; of equal ones the lower rows."""
        (which,) = full.nonzero(as_tuple=True)
        exact = self._exact[which].masked_fill_(~keep[which], -torch.inf)
        scores, order = exact.sort(dim=1, descending=True, stable=True)
        few = torch.zeros_like(exact, dtype=torch.bool).scatter_(1, order[:, : self._k], True)
        keep[which] &= few
        if scores.shape[1] >= self._k:
            self._needed[which] = torch.maximum(self._needed[which], scores[:, self._k - 1])

    def _keep(self, at: Tensor) -> None:
        """Moves the candidates that stay together."""
        rows, upper, lower, exact = (each.view(-1)[at] for each in (self._rows, self._upper, self._lower, self._exact))
        query = at // max(1, self._rows.shape[1])
        self._empty()
        self.add(query, rows, upper, lower)
        first = torch.arange(len(self._counts)) * self._rows.shape[1] - (self._counts.cumsum(0) - self._counts)
        self._exact.view(-1)[first[query] + torch.arange(len(query))] = exact

    def _empty(self) -> None:
        count = len(self.given_up)
        self._counts = torch.zeros(count, dtype=torch.int64)
        self._rows = torch.zeros((count, 0), dtype=torch.int64)
        self._upper, self._lower, self._exact = torch.zeros((3, count, 0))

    def _widen(self, width: int) -> None:
        """Makes room for that many candidates of each query, and some more."""
        more = (0, width + width // 2 - self._rows.shape[1])
        if width > self._rows.shape[1]:
            self._rows = torch.nn.functional.pad(self._rows, more)
            parts = self._upper, self._lower, self._exact
            padded = (torch.nn.functional.pad(part, more, value=-torch.inf) for part in parts)
            self._upper, self._lower, self._exact = padded


def _places(mask: Tensor) -> Tensor:
    """`(M,)` int64, where a mask is True, counted through all its dimensions; few places are found eight at a time."""
    flat = mask.reshape(-1)
    if len(flat) % 8:
        return flat.nonzero().view(-1)
    eights = flat.view(torch.int64).nonzero().view(-1)
    within = flat.view(-1, 8).index_select(0, eights).view(-1).nonzero().view(-1)
    return (eights << 3).index_select(0, within >> 3) + (within & 7)
