"""Masks of one picture on their way from the device to a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.models.on_device import brought


@dataclass
class MaskBatch:
    """Masks on their way to a result; tensors on the device until `download`.

    Attributes:
        scores: `(N,)` float32.
        stability: `(N,)` float32.
        boxes: `(N, 4)` int64, xyxy px of the picture, both edges within the mask; zeros for an empty one.
        objects: `(N,)` int64, the prompt that each is of.
        kept: `(N,)` bool, whether no filter leaves it out. On a device those that are left out stay, as masks without a
            pixel, until `download`: the host would have to wait to know how many they are.
        starts: `(N,)` bool, whether the mask has the picture's first pixel.
        lengths: `(N,)` int64, how many of `changes` are each mask's.
        changes: `(C,)` integers, the positions, column by column, at which a mask begins or ends, mask after mask.
    """

    scores: Tensor
    stability: Tensor
    boxes: Tensor
    objects: Tensor
    kept: Tensor
    starts: Tensor
    lengths: Tensor
    changes: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, keep: Tensor) -> MaskBatch:
        """The masks at these positions, `(K,)` int64, in this order."""
        ends = self.lengths.cumsum(0)
        begins, lengths = (ends - self.lengths)[keep], self.lengths[keep]
        total = int(lengths.sum())
        shift = torch.repeat_interleave(begins - (lengths.cumsum(0) - lengths), lengths, output_size=total)
        changes = self.changes[torch.arange(total, device=shift.device) + shift]
        rest = {name: getattr(self, name)[keep] for name in vars(self) if name not in ("lengths", "changes")}
        return MaskBatch(**rest, lengths=lengths, changes=changes)

    def suppressed(self, threshold: float) -> Tensor:
        """`(K,)` int64, the best of each group of masks whose boxes overlap, best first; behind them some not kept."""
        from torchvision.ops import nms  # imports torch._dynamo, which takes as long as torch itself

        # what is not kept comes last, and suppresses nothing that is
        order: Tensor = nms(self.boxes.float(), self.scores.masked_fill(~self.kept, -torch.inf), threshold)
        return order

    def download(self, order: Tensor | None = None) -> MaskBatch:
        """Those that are kept, on the CPU: of all masks, or of those at these positions, in this order."""
        *columns, places = brought([*vars(self).values(), self.kept if order is None else order])
        here = MaskBatch(**dict(zip(vars(self), columns, strict=True)))
        if order is not None:
            return here.select(places[here.kept[places]])
        return here if bool(here.kept.all()) else here.select(here.kept.nonzero()[:, 0])

    def runs(self, size: tuple[int, int]) -> list[NDArray[np.int64]]:
        """The lengths of each mask's runs, as `results.rle.runs` gives them; on the CPU only."""
        from sensorium.results.rle import runs_between

        changes = np.split(self.changes.numpy(), np.cumsum(self.lengths.numpy())[:-1]) if len(self.lengths) else []
        length = size[0] * size[1]
        return [
            runs_between(at, length, starts_set=bool(on)) for at, on in zip(changes, self.starts.numpy(), strict=True)
        ]


def join(batches: Sequence[MaskBatch]) -> MaskBatch:
    """Puts the masks of several batches one after the other."""
    return MaskBatch(**{name: torch.cat([getattr(batch, name) for batch in batches]) for name in vars(batches[0])})
