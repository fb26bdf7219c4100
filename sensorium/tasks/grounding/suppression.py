"""Boxes of one label that overlap: the best one stays."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def suppressed(xyxy: NDArray[np.float32], ids: NDArray[np.int64], iou: float) -> NDArray[np.int64]:
    """The boxes that stay.

    Args:
        xyxy: `(N, 4)`, best first.
        ids: `(N,)`, their labels: boxes of different ones leave each other alone.
        iou: in [0, 1]; of two boxes that overlap by more the better one stays.

    Returns:
        Indices, ascending.
    """
    from torchvision.ops import nms  # imports torch._dynamo, which takes as long as torch itself

    stay = []
    for label in np.unique(ids):
        own = np.flatnonzero(ids == label)
        order = torch.arange(len(own), 0, -1, dtype=torch.float32)
        stay.append(own[nms(torch.from_numpy(xyxy[own]), order, iou).numpy()])
    return np.sort(np.concatenate(stay)) if stay else np.zeros(0, np.int64)


def shares_of_best(scores: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores beside the best one with the same label: 1 for that, 0 for a tenth of it and less."""
    best = np.zeros(int(ids.max()) + 1 if len(ids) else 0, np.float32)
    np.maximum.at(best, ids, scores)
    most = best[ids] + np.float32(1e-6)
    shares: NDArray[np.float32] = (scores - most * np.float32(0.1)) / (most * np.float32(0.9))
    return shares.clip(0, 1)
