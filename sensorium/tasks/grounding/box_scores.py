"""BoxScores: what a family's model says of a batch, in the form that all families share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sensorium.models.on_device import sent


class BoxScores(NamedTuple):
    """Scores of labels for boxes; the labels lie in one text or several, each of which has boxes of its own.

    Attributes:
        logits: `(B, T, N, P)` float32 for texts, labels of each and boxes; -inf for what is none.
        boxes: `(B, T, P, 4)` float32 cxcywh, in shares of the picture.
        firsts: for each picture the numbers of the texts' first labels.
    """

    logits: Tensor
    boxes: Tensor
    firsts: Sequence[Sequence[int]]


def without_others(logits: Tensor, counts: Sequence[int]) -> Tensor:
    """Logits in which labels that a picture does not have, but others of its batch, are -inf.

    Args:
        logits: `(B, N, P)`.
        counts: how many labels each picture has.
    """
    most = logits.shape[1]
    if min(counts) >= most:
        return logits
    own = torch.arange(most, device=logits.device) < sent(list(counts), logits.device)[:, None]
    return logits.masked_fill(~own[..., None], -torch.inf)
