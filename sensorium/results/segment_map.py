"""A map of segments: an array, or the runs of one until it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sensorium.results.rle import check_runs, checked_size

_MAX_BYTES = 10**9  # of a map that is read from a row


class SegmentMap:
    """Which value each pixel of a picture has.

    Args:
        array: `(H, W)` integers.

    Attributes:
        size: (H, W), px.
    """

    __slots__ = ("_array", "_lengths", "_values", "size")

    def __init__(self, array: NDArray[Any]) -> None:
        self._array: NDArray[Any] | None = array
        self._values = self._lengths = np.zeros(0, np.int64)
        self.size: tuple[int, int] = (array.shape[0], array.shape[1])

    @classmethod
    def from_runs(
        cls, size: tuple[int, int], kind: np.dtype[Any], values: Sequence[int], runs: Sequence[NDArray[np.int64]]
    ) -> Self:
        """A map that takes as much memory as its runs, and that of its pixels when it is looked at.

        Args:
            size: (H, W), px.
            kind: of its numbers.
            values: one for each mask; pixels in none of them are 0.
            runs: of the masks, as `results.rle.runs` gives them.

        Raises:
            ValueError: its numbers are not whole, the map would be larger than is read, the masks overlap, or runs do
                not fill the size.
            OverflowError: a value that its numbers cannot be.
        """
        if kind.kind not in "iu":
            raise ValueError(f"a map of segments is of whole numbers, got {kind}")
        self = cls.__new__(cls)
        self.size = checked_size(size, max_pixels=_MAX_BYTES // kind.itemsize)
        held = np.array(list(values), kind)
        if len(held) != len(runs):
            raise ValueError(f"each mask of a map has a value, got {len(held)} values of {len(runs)} masks")
        for lengths in runs:
            check_runs(lengths, size)
        starts = [(np.cumsum(lengths) - lengths)[1::2] for lengths in runs]
        lengths = np.concatenate([np.zeros(0, np.int64), *(each[1::2] for each in runs)])
        places = np.concatenate([np.zeros(0, np.int64), *starts])
        of = np.repeat(held, [len(each) for each in starts])
        order = np.argsort(places, kind="stable")
        order = order[lengths[order] > 0]
        places, lengths, of = places[order], lengths[order], of[order]
        ends = places + lengths
        if (places[1:] < ends[:-1]).any():
            raise ValueError("masks of a map overlap")
        before = np.append(places, size[0] * size[1]) - np.append(0, ends)  # px of no mask, before each run and at last
        self._lengths = np.column_stack([before, np.append(lengths, 0)]).ravel()
        self._values = np.column_stack([np.zeros(len(of) + 1, kind), np.append(of, kind.type(0))]).ravel()
        self._array = None
        return self

    @property
    def array(self) -> NDArray[Any]:
        """`(H, W)` integers."""
        if self._array is None:
            height, width = self.size
            self._array = np.repeat(self._values, self._lengths).reshape(width, height).T
        return self._array
