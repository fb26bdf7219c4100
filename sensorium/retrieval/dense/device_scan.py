"""The scan of an exact search on a GPU: the rows of each query that promise most, found without waiting in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.retrieval.dense.coarse import VANISHING, Coarse, CoarseQueries
from sensorium.retrieval.dense.rounding import GROUP

TOGETHER = 512
"""Queries that are scanned for at once, at most; the candidates of those before are looked at meanwhile."""

PRODUCTS = 2**28
"""Products of a tile, 1 GB: so many that the device is not waiting for what it is to do."""

LEAST_TILE, MOST_TILE = 1_024, 2**22
"""Rows of a tile, whatever the number of queries."""


@dataclass(frozen=True)
class Pending:
    """What a scan will have found when the device has come to it.

    Attributes:
        upper: `(B, W)` float32 in pinned memory, than which float32 products are not larger; -inf for no row.
        rows: `(B, W)` int64 in pinned memory.
        done: when they have arrived.
    """

    upper: Tensor
    rows: Tensor
    done: torch.cuda.Event

    def wait(self) -> tuple[Tensor, Tensor]:
        """Both, when they have arrived."""
        self.done.synchronize()
        return self.upper, self.rows


class DeviceScan:
    """Multiplies vectors that lie on a GPU, and keeps the rows whose bounds are largest.

    Of each 32 rows, which share a bound, the largest product is looked at first: the best W rows are among the W such
    groups that are best. So all products are read once, and only those of few groups are sorted.

    Args:
        vectors: float16, bfloat16 or float32 values on a GPU.
    """

    def __init__(self, vectors: Coarse) -> None:
        self._values, self._count = vectors.values, len(vectors.values)
        self._device = self._values.device
        self._bounds = vectors.bounds.to(self._device)
        self._products = PRODUCTS

    def start(self, queries: CoarseQueries, width: int, allowed: Tensor | None) -> Pending:
        """Starts to look for the rows whose float32 products may be largest.

        Where memory does not suffice for the products of a tile, tiles are halved for good.

        Args:
            queries: with values on the same device.
            width: how many rows to keep for each query; no more than may be found.
            allowed: `(N,)` bool on the device, which rows may be found; None for all.

        Returns:
            Rows such that the float32 products of all others are no larger than the smallest `upper`.
        """
        parts = (queries.scales, queries.of_left_over, queries.of_longest, queries.always)
        told = sent(torch.stack(parts), self._device)
        count = len(queries.exact)
        while True:
            most = max(LEAST_TILE, min(MOST_TILE, self._count, self._products // count // GROUP * GROUP))
            try:
                upper, rows = self._best(queries.values, told, width, allowed, most)
                return self._bring(upper, rows)
            except torch.OutOfMemoryError:
                if most == LEAST_TILE:
                    raise
                self._products = most * count // 2

    def _bring(self, upper: Tensor, rows: Tensor) -> Pending:
        brought = [tensor.to("cpu", non_blocking=True) for tensor in (upper, rows)]
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self._device))
        return Pending(brought[0], brought[1], done)

    def _best(
        self, queries: Tensor, told: Tensor, width: int, allowed: Tensor | None, most: int
    ) -> tuple[Tensor, Tensor]:
        best = torch.full((len(queries), width), -torch.inf, device=self._device)
        where = torch.full((len(queries), width), -1, dtype=torch.int64, device=self._device)
        for start, values, bounds in self._tiles(most):
            some = None if allowed is None else allowed[start : start + len(values)]
            upper, places = _largest(_products(queries, values, some), told, bounds, width)
            best, order = torch.cat([best, upper], 1).topk(width, dim=1)
            where = torch.cat([where, places + start], 1).gather(1, order)
        return best, where

    def _tiles(self, most: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        whole = self._count // GROUP * GROUP  # the last few rows have their own tile: it is copied to fill a group
        for start in [*range(0, whole, most), *([whole] if whole < self._count else [])]:
            stop = min(start + most, whole if start < whole else self._count)
            yield start, self._values[start:stop], self._bounds[:, start // GROUP : -(-stop // GROUP)]


def _largest(products: Tensor, told: Tensor, bounds: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The rows of a tile whose bounds are largest.

    Args:
        products: `(B, T)` float32 of values; -inf where a row may not be found.
        told: `(4, B)` float32: the queries' scales, and by what norms are multiplied in the bounds, and what is added.
        bounds: `(3, G)` float32, the scales and norms of each 32 rows.
        width: how many at most.

    Returns:
        `(B, W)` float32 bounds, and `(B, W)` int64 places in the tile.
    """
    gap = -products.shape[1] % GROUP
    grouped = (torch.nn.functional.pad(products, (0, gap), value=-torch.inf) if gap else products).unflatten(
        1, (-1, GROUP)
    )
    scale, of_left_over, of_longest, always = told[:, :, None].unbind(0)
    # first with each other, for what comes of it is of the products' size; and never zero, by which -inf would be NaN
    scales = (scale * bounds[0]).clamp_(min=VANISHING)
    added = (of_left_over * bounds[1]).addcmul_(of_longest, bounds[2]).add_(always)
    upper = grouped.amax(2).mul_(scales).add_(added)
    groups = upper.topk(min(width, upper.shape[1]), dim=1).indices
    near = grouped.gather(1, groups[:, :, None].expand(-1, -1, GROUP))
    near = near.mul_(scales.gather(1, groups)[:, :, None]).add_(added.gather(1, groups)[:, :, None])
    upper, order = near.flatten(1).topk(min(width, near.shape[1] * GROUP), dim=1)
    return upper, groups.gather(1, order // GROUP) * GROUP + order % GROUP


_SUMS = threading.Lock()


def _products(queries: Tensor, values: Tensor, allowed: Tensor | None) -> Tensor:
    """`(B, T)` float32 products of values; -inf of rows that may not be found."""
    products = queries @ values.T if values.dtype == torch.float32 else _summed_in_float32(queries, values)
    return products if allowed is None else products.masked_fill_(~allowed, -torch.inf)


def _summed_in_float32(queries: Tensor, values: Tensor) -> Tensor:
    """What is summed in parts is not rounded to few bits in between."""
    with _SUMS:  # the setting is one for the process
        setting = torch.backends.cuda.matmul
        before = setting.allow_fp16_accumulation
        if before:
            setting.allow_fp16_accumulation = False
        try:
            return torch.mm(queries, values.T, out_dtype=torch.float32)
        finally:
            if before:
                setting.allow_fp16_accumulation = True
