"""What is looked for in the units of a picture, what is found there, and all of it joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.results import Masks
from sensorium.tasks.masks.concepts import Concept
from sensorium.tasks.masks.filtering import Frame
from sensorium.tasks.masks.mask_batch import MaskBatch, join
from sensorium.tasks.masks.prompts import Prompts


@dataclass(frozen=True)
class Meta:
    """What to look for in one unit: what prompts ask for, or what concepts name.

    Attributes:
        frame: where it lies.
        prompts: what to ask for, px of the square that the model sees; None where there are concepts.
        everything: whether the prompts are a grid, so that masks are filtered and suppressed.
        alone: whether it is the input's only unit.
        concepts: what to look for by texts and exemplars; none where there are prompts.
    """

    frame: Frame
    prompts: Prompts | None = None
    everything: bool = False
    alone: bool = True
    concepts: Sequence[Concept] = ()


@dataclass(frozen=True)
class FoundMasks:
    """What was found in one unit, on the CPU.

    Attributes:
        masks: None for none.
        meta: the unit's.
        pred_boxes: `(N, 4)` float32 xyxy px, where the model gives any.
    """

    masks: MaskBatch | None
    meta: Meta
    pred_boxes: NDArray[np.float32] | None = None


def merged(parts: Sequence[FoundMasks], nms_threshold: float, index: int) -> Masks:
    """The masks of a picture and its crops, the overlapping ones suppressed."""
    meta, filled = parts[0].meta, [part.masks for part in parts if part.masks is not None and len(part.masks)]
    size, named = meta.frame.image_size, [concept.text for concept in meta.concepts]
    if not filled:
        pred_boxes = np.zeros((0, 4)) if named else None
        return Masks.from_runs([], size, [], labels=[] if named else None, pred_boxes=pred_boxes, index=index)
    masks = join(filled)
    if not meta.alone:
        masks = masks.select(masks.suppressed(nms_threshold))
    return Masks.from_runs(
        masks.runs(size),
        size,
        masks.scores.numpy(),
        boxes=masks.boxes.numpy(),
        stability=masks.stability.numpy(),
        objects=None if meta.everything else masks.objects.numpy(),
        labels=[named[number] for number in masks.objects.tolist()] if named else None,
        pred_boxes=parts[0].pred_boxes,
        index=index,
    )
