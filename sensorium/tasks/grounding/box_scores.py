"""BoxScores: what a family's model says of a batch, in the form that all families share."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class BoxScores(NamedTuple):
    """Scores of labels for boxes; the labels lie in one text or several, each of which has boxes of its own.

    Attributes:
        logits: `(B, T, N, P)` float32 for texts, labels of each and boxes; -inf for what is none.
        boxes: `(B, T, P, 4)` float32 cxcywh, in shares of the picture.
    """

    logits: Tensor
    boxes: Tensor
