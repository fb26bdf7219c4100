"""A large picture as overlapping tiles of one size, and what a model makes of them as one picture again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

LEVELS = 65535
"""Tiles are joined at 16 bit, so that rounding them first does not show in a picture of 8."""


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of a picture lie, row by row.

    Attributes:
        tops: the first px row of each row of tiles, ascending.
        lefts: the first px column of each column of tiles, ascending.
        height: of each tile, px.
        width: of each tile, px.
    """

    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    height: int
    width: int

    @classmethod
    def over(
        cls, size: tuple[int, int], padded: tuple[int, int], *, tile_px: int, overlap_px: int, multiple: int
    ) -> Self:
        """Covers a picture with as few tiles as there can be, which overlap by about the same everywhere.

        Args:
            size: (height, width) of the picture, px. A side up to `tile_px` is not cut.
            padded: the same of what is cut, which is the picture with a border; multiples of `multiple`.
            tile_px: a tile's sides are at most this, but for a border and for two multiples at the least.
            overlap_px: what neighbours share at the least, rounded up to multiples, and to less than a tile.
            multiple: tiles begin and end at multiples of this many px, as a model's own windows do.
        """
        most = max(2, tile_px // multiple)
        shared = min(-(-overlap_px // multiple), most - 1)
        axes = [
            (range(1), whole) if side <= tile_px else _spans(whole // multiple, most, shared)
            for side, whole in zip(size, padded, strict=True)
        ]
        sides = [length if side <= tile_px else length * multiple for (_, length), side in zip(axes, size, strict=True)]
        tops, lefts = (tuple(start * multiple for start in starts) for starts, _ in axes)
        return cls(tops, lefts, *sides)

    @property
    def single(self) -> bool:
        """Whether there is but one tile."""
        return len(self.tops) == len(self.lefts) == 1

    def cut(self, image: Tensor) -> Iterator[Tensor]:
        """The tiles of `(C, H, W)`, row by row, as views."""
        for top in self.tops:
            for left in self.lefts:
                yield image[:, top : top + self.height, left : left + self.width]

    def joined(self, tiles: Sequence[NDArray[np.uint16]], size: tuple[int, int], scale: int) -> NDArray[np.uint16]:
        """Joins what a model made of the tiles; where they overlap, one goes over into the next.

        Args:
            tiles: `(height * scale, width * scale, C)` each, row by row.
            size: (height, width) of the result, px; what lies beyond is cut off.
            scale: how much larger the model makes pictures.

        Returns:
            `(H, W, C)`.
        """
        canvas: NDArray[np.uint16] = np.empty((*size, tiles[0].shape[2]), np.uint16)
        end, columns = 0, len(self.lefts)
        for row, top in enumerate(self.tops):
            strip = self._strip(tiles[row * columns : (row + 1) * columns], size[1], scale)
            first, last = top * scale, min((top + self.height) * scale, size[0])
            _lay(canvas[first:last], strip[: last - first], shared=end - first)
            end = last
        return canvas

    def _strip(self, tiles: Sequence[NDArray[np.uint16]], width: int, scale: int) -> NDArray[np.float32]:
        """A row of tiles, joined."""
        strip = np.empty((self.height * scale, width, tiles[0].shape[2]), np.float32)
        end = 0
        for left, tile in zip(self.lefts, tiles, strict=True):
            first, last = left * scale, min((left + self.width) * scale, width)
            laid = tile[:, : last - first].swapaxes(0, 1)
            _lay(strip[:, first:last].swapaxes(0, 1), laid, shared=end - first)
            end = last
        return strip


def _spans(blocks: int, most: int, shared: int) -> tuple[Sequence[int], int]:
    """Where spans over `blocks` begin that share as many with each neighbour, and how long each is."""
    count = max(1, -(-(blocks - shared) // (most - shared)))
    length = -(-(blocks + (count - 1) * shared) // count)
    spare = blocks - length
    return [round(i * spare / max(1, count - 1)) for i in range(count)], length


def _lay(onto: NDArray[Any], laid: NDArray[Any], *, shared: int) -> None:
    """Lays one array over another of its shape, whose first `shared` rows it takes over from step by step."""
    shared = min(max(shared, 0), len(onto))
    if shared:
        weight = ((np.arange(shared, dtype=np.float32) + 0.5) / shared)[:, None, None]
        mixed = onto[:shared] * (1 - weight) + laid[:shared] * weight
        onto[:shared] = mixed if onto.dtype.kind == "f" else np.rint(mixed)
    rest = laid[shared:]
    onto[shared:] = rest if onto.dtype.kind == "f" or rest.dtype.kind != "f" else np.rint(rest)
