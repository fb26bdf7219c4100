"""The best rows of each query among the products of tiles of rows, without sorting what is far from them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

GROUP = 32
"""Rows whose largest product is compared with the threshold at once."""

Tile = tuple[Tensor, Tensor, Tensor | None]


def keep_best(tiles: Iterator[Tile], queries: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The best rows of each query.

    A tile's products are looked at in groups of rows: of most groups the largest is below what is already found.

    Args:
        tiles: vectors `(T, D)`, their rows `(T,)` int64, and which of them are barred, `(T,)` bool or None.
        queries: `(Q, D)`, in the vectors' dtype.
        width: how many rows to keep for each query.

    Returns:
        `(Q, width)` float32 products, and `(Q, width)` int64 rows; -inf and -1 where there are fewer.
    """
    threshold = torch.full((len(queries),), -torch.inf)
    kept = _Candidates(len(queries), width)
    transposed = queries.T.contiguous()
    for tile, rows, barred in tiles:
        products = torch.mm(tile, transposed)
        if barred is not None:
            products.masked_fill_(barred[:, None], -torch.inf)
        gap = -len(products) % GROUP
        if gap:
            products = torch.nn.functional.pad(products, (0, 0, 0, gap), value=-torch.inf)
        groups = products.view(-1, GROUP, len(queries))
        largest = groups.amax(1)
        if kept.empty and len(largest) >= width:  # as many groups have a row that is at least so good
            threshold = largest.float().topk(width, dim=0).values[-1]
        group, query = (largest >= threshold.to(largest.dtype)).nonzero(as_tuple=True)
        values = groups[group, :, query].float()
        passing, within = (values >= threshold[query][:, None]).nonzero(as_tuple=True)
        at = group[passing] * GROUP + within
        real = at < len(rows)
        passing, within, at = passing[real], within[real], at[real]
        threshold = kept.add(query[passing], values[passing, within], rows[at], threshold)
    return kept.best()


def keep_best_on_device(tiles: Iterator[Tile], queries: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """`keep_best` without a word from the device between tiles: the best of each tile join the best before."""
    best = queries.new_full((len(queries), width), -torch.inf, dtype=torch.float32)
    where = torch.full((len(queries), width), -1, dtype=torch.int64, device=queries.device)
    for tile, rows, barred in tiles:
        # float32 results: what is summed in parts must not be rounded to bfloat16 in between
        products = (
            torch.mm(queries, tile.T, out_dtype=torch.float32) if tile.dtype != torch.float32 else queries @ tile.T
        )
        if barred is not None:
            products.masked_fill_(barred[None], -torch.inf)
        values, places = products.topk(min(width, len(rows)), dim=1)
        best, order = torch.cat([best, values], 1).topk(width, dim=1)
        where = torch.cat([where, rows[places]], 1).gather(1, order)
    return best, where.masked_fill(best == -torch.inf, -1)


class _Candidates:
    """Rows that passed the threshold of their query; the worst ones go once there are many."""

    def __init__(self, queries: int, width: int) -> None:
        self._queries, self._width = queries, width
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []
        self._size = 0

    @property
    def empty(self) -> bool:
        return not self._size

    def add(self, query: Tensor, scores: Tensor, rows: Tensor, threshold: Tensor) -> Tensor:
        """Takes candidates; returns the threshold of each query, raised where that is known."""
        real = scores > -torch.inf
        self._parts.append((query[real], scores[real], rows[real]))
        self._size += len(self._parts[-1][0])
        if self._size < 3 * self._queries * self._width and len(self._parts) > 1:
            return threshold
        return torch.maximum(threshold, self._shrink())

    def _shrink(self) -> Tensor:
        """Keeps the best of each query; returns the least of those that have enough, else -inf."""
        query, scores, rows = (torch.cat(each) for each in zip(*self._parts, strict=True))
        order = scores.argsort(descending=True, stable=True)
        order = order[query[order].argsort(stable=True)]
        query, scores, rows = query[order], scores[order], rows[order]
        counts = torch.bincount(query, minlength=self._queries)
        place = torch.arange(len(query)) - (counts.cumsum(0) - counts)[query]
        last = torch.full((self._queries,), -torch.inf)
        full = place == self._width - 1
        last[query[full]] = scores[full]
        good = place < self._width
        self._parts = [(query[good], scores[good], rows[good])]
        self._size = int(good.sum())
        self._place = place[good]
        return last

    def best(self) -> tuple[Tensor, Tensor]:
        """`(Q, width)` scores and rows, best first."""
        scores = torch.full((self._queries, self._width), -torch.inf)
        rows = torch.full((self._queries, self._width), -1, dtype=torch.int64)
        self._shrink()
        query, values, found = self._parts[0]
        scores[query, self._place], rows[query, self._place] = values, found
        return scores, rows
