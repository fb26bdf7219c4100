"""Points of pairs of pictures, side by side in one tensor, and which of them chose each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.models.superpoint import Points


@dataclass(frozen=True)
class Pairs:
    """The points of P pairs of pictures, padded with zeros to one number of points.

    Attributes:
        xy: `(P, 2, N, 2)` float32, px of the pictures that the model saw.
        scores: `(P, 2, N)` float32.
        descriptors: `(P, 2, N, D)` float32.
        mask: `(P, 2, N)` bool, true for points.
        size: (width, height) of all pictures, px.
    """

    xy: Tensor
    scores: Tensor
    descriptors: Tensor
    mask: Tensor
    size: tuple[int, int]

    @property
    def lengths(self) -> Tensor:
        """`(P,)` int64: the points of the picture of each pair that has more of them."""
        return self.mask.sum(dim=2).amax(dim=1)


@dataclass(frozen=True)
class Links:
    """Which point of a second picture each point of a first one goes with.

    Attributes:
        partner: `(P, N)` int64, -1 for none.
        scores: `(P, N)` float32 in [0, 1].
    """

    partner: Tensor
    scores: Tensor

    @classmethod
    def none(cls, pairs: int, points: int, device: torch.device) -> Links:
        """No point goes with any other."""
        partner = torch.full((pairs, points), -1, dtype=torch.int64, device=device)
        return cls(partner, torch.zeros((pairs, points), device=device))


def groups(counts: Sequence[int]) -> Iterator[list[int]]:
    """Pairs whose pictures all have points, together with those of like number, so that little has to be padded.

    Args:
        counts: points of each picture, pair after pair.

    Yields:
        Positions of pairs, those with the fewest points first.
    """
    rooms: dict[int, list[int]] = {}
    for pair in range(len(counts) // 2):
        fewer, more = sorted(counts[2 * pair : 2 * pair + 2])
        if fewer:
            rooms.setdefault(max(6, (more - 1).bit_length()), []).append(pair)
    for room in sorted(rooms):
        yield rooms[room]


def gather(points: Points, descriptors: Tensor, pairs: Sequence[int], size: tuple[int, int]) -> Pairs:
    """The points of some of a batch's pairs.

    Args:
        points: of all pictures of the batch, pair after pair.
        descriptors: `(K, D)` float32, theirs.
        pairs: which ones.
        size: (width, height) of the pictures, px.
    """
    device = points.scores.device
    counts = torch.tensor(points.counts)
    starts = counts.cumsum(0) - counts
    images = torch.tensor([image for pair in pairs for image in (2 * pair, 2 * pair + 1)])
    own = counts[images]
    places = torch.arange(int(own.max()))
    mask = places < own[:, None]
    rows = sent(torch.where(mask, starts[images][:, None] + places, 0), device)
    mask = sent(mask, device)

    def pick(values: Tensor) -> Tensor:
        picked: Tensor = values[rows] * mask.view(*mask.shape, *[1] * (values.ndim - 1))
        paired: Tensor = picked.unflatten(0, (-1, 2))
        return paired

    xy = points.xy.float()
    return Pairs(pick(xy), pick(points.scores), pick(descriptors), mask.unflatten(0, (-1, 2)), size)


def choose(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best column for each row, and whether that row is also the best for the column.

    Args:
        scores: `(P, N, M)` float32.

    Returns:
        The column, `(P, N)` int64; its score, `(P, N)`; and whether the choice is mutual, `(P, N)` bool.
    """
    best = scores.max(dim=2)
    back = scores.max(dim=1).indices.gather(1, best.indices)
    return best.indices, best.values, back == torch.arange(scores.shape[1], device=scores.device)
