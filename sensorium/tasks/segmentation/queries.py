"""Panoptic and instance segments from queries: each query of a model gives class scores and one mask's logits.

The rules are those of Transformers' post-processing for DETR, MaskFormer and Mask2Former. Everything stays on the
device; what comes back is tensors, and nothing waits for the device between pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.tasks.segmentation.maps import upsampled


@dataclass(frozen=True)
class FoundSegments:
    """What was found in a picture, on the device.

    Attributes:
        segmentation: `(H, W)` int16; the pixels of candidate k are k + 1, others 0. `(K, H, W)` bool where candidates
            may overlap.
        valid: `(K,)` bool, which candidates are segments; pixels of others are 0.
        ids: `(K,)` the candidates' classes, on the CPU.
        scores: `(K,)` float32 in [0, 1], on the CPU.
    """

    segmentation: Tensor
    valid: Tensor
    ids: Tensor
    scores: Tensor


@dataclass(frozen=True)
class SegmentThresholds:
    """The thresholds of a call, each in [0, 1].

    Attributes:
        score: below it a query is no candidate.
        mask: the weighted probability from which a pixel counts for the size of a query's mask.
        overlap: a query is a segment if more than this share of its mask is left to it by stronger ones.
    """

    score: float
    mask: float
    overlap: float


def panoptic(
    classes: Tensor,
    masks: Tensor,
    sizes: list[tuple[int, int]],
    at_least: SegmentThresholds,
    grid: tuple[int, int] | None,
    *,
    antialias: bool = False,
) -> list[FoundSegments]:
    """Segments that share no pixel: each pixel goes to the query with the largest product of score and probability.

    Args:
        classes: `(B, Q, C + 1)` float32 logits, the last class for "no object".
        masks: `(B, Q, h, w)` float32 logits.
        sizes: (H, W) of each picture, px.
        at_least: the thresholds.
        grid: the size to which mask logits are brought before they become probabilities; None for their own.
        antialias: whether masks are antialiased where a picture is smaller than they are.
    """
    scores, ids = classes.softmax(-1).max(-1)
    scores_cpu, ids_cpu = torch.stack([scores, ids.to(scores.dtype)]).cpu()  # class numbers are exact in float32
    segments = []
    for row, size in enumerate(sizes):
        keep = ((ids_cpu[row] != classes.shape[-1] - 1) & (scores_cpu[row] > at_least.score)).nonzero()[:, 0]
        chosen = sent(keep, masks.device)
        probabilities = at_grid(masks[row, chosen], grid).sigmoid()
        probabilities = shrunk(probabilities, size) if antialias else probabilities
        segmentation, valid = _assign(probabilities, scores[row, chosen], size, at_least)
        segments.append(FoundSegments(segmentation, valid, ids_cpu[row, keep].long(), scores_cpu[row, keep]))
    return segments


def _assign(
    probabilities: Tensor, scores: Tensor, size: tuple[int, int], at_least: SegmentThresholds
) -> tuple[Tensor, Tensor]:
    """The map and the validity of the candidates of a picture."""
    count = len(scores)
    if not count:
        empty = torch.zeros(size, dtype=torch.int16, device=scores.device)
        return empty, torch.zeros(0, dtype=torch.bool, device=scores.device)
    whole, own = torch.zeros((2, count), dtype=torch.int64, device=scores.device)
    numbers = torch.arange(count, device=scores.device)
    rows = []
    for slab in upsampled(probabilities, size):
        weighted = slab.mul_(scores.view(-1, 1, 1))
        whole += (weighted >= at_least.mask).flatten(1).sum(1)
        rows.append(weighted.argmax(0))
        own += counted(rows[-1], numbers)
    winner = torch.cat(rows)
    valid = (own > 0) & (whole > 0) & (own / whole > at_least.overlap)
    value = torch.where(valid, numbers + 1, 0)
    return value[winner].to(torch.int16), valid


def counted(winner: Tensor, numbers: Tensor) -> Tensor:
    """How often each of the `(K,)` numbers from 0 occurs; `bincount` would make the host wait for a device."""
    if winner.device.type == "cpu":
        return torch.bincount(winner.flatten(), minlength=len(numbers))
    return (winner.flatten() == numbers[:, None]).sum(1)


def instances(
    classes: Tensor,
    masks: Tensor,
    sizes: list[tuple[int, int]],
    at_least: SegmentThresholds,
    grid: tuple[int, int] | None,
    *,
    overlapping: bool = False,
) -> list[FoundSegments]:
    """Objects, as many pairs of query and class as there are queries; later ones cover earlier ones.

    Args:
        classes: as for `panoptic`.
        masks: as for `panoptic`.
        sizes: as for `panoptic`.
        at_least: the score counts; the two others have no part in it.
        grid: as for `panoptic`.
        overlapping: whether to give each object its whole mask.
    """
    queries, labels = classes.shape[1], classes.shape[2] - 1
    # The reference takes them unsorted, too, and the order decides which object covers which.
    scores, pairs = classes.softmax(-1)[..., :-1].flatten(1).topk(queries, sorted=False)
    query = pairs // labels
    scores = scores * torch.stack([_confidence(at_grid(logits, grid)) for logits in masks]).gather(1, query)
    down = torch.stack([scores, query.to(scores.dtype), (pairs % labels).to(scores.dtype)]).cpu()
    segments = []
    for row, size in enumerate(sizes):
        keep = down[0, row] >= at_least.score
        chosen = sent(down[1, row, keep].long(), masks.device)
        shapes = at_grid(masks[row, chosen], grid) > 0
        axes = [_nearest(n, m) for n, m in zip(shapes.shape[1:], size, strict=True)]
        drawn_rows, drawn_columns = (sent(axis.unique(), masks.device) for axis in axes)
        seen = shapes[:, drawn_rows][:, :, drawn_columns].flatten(1).any(1)
        if not overlapping:
            layer = torch.arange(1, len(chosen) + 1, dtype=torch.int16, device=masks.device).view(-1, 1, 1)
            blank = torch.zeros((1, *shapes.shape[1:]), dtype=torch.int16, device=masks.device)
            shapes = torch.cat([blank, shapes * layer]).amax(0)
        down_rows, down_columns = (sent(axis, masks.device) for axis in axes)
        drawn = shapes.index_select(-2, down_rows).index_select(-1, down_columns)
        segments.append(FoundSegments(drawn, seen, down[2, row, keep].long(), down[0, row, keep]))
    return segments


def semantic_logits(classes: Tensor, masks: Tensor, grid: tuple[int, int] | None) -> Tensor:
    """`(C, h, w)` class scores of one picture's `(Q, C + 1)` and `(Q, h, w)` logits."""
    weights = classes.softmax(-1)[..., :-1]
    return torch.einsum("qc,qhw->chw", weights, at_grid(masks, grid).sigmoid())


def at_grid(masks: Tensor, grid: tuple[int, int] | None) -> Tensor:
    """`(K, h, w)` at another size, bilinear."""
    if grid is None:
        return masks
    if not len(masks):
        return masks.new_zeros((0, *grid))
    return F.interpolate(masks[None], size=grid, mode="bilinear", align_corners=False)[0]


def shrunk(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """`(K, h, w)` at a size that is smaller in some direction, bilinear and antialiased; others as they are."""
    if not len(maps) or (maps.shape[1] <= size[0] and maps.shape[2] <= size[1]):
        return maps
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]


def _confidence(masks: Tensor) -> Tensor:
    """`(Q,)` the mean probability within each of `(Q, h, w)` masks."""
    inside = (masks > 0).float().flatten(1)
    return (masks.sigmoid().flatten(1) * inside).sum(1) / (inside.sum(1) + 1e-6)


def _nearest(cells: int, pixels: int) -> Tensor:
    """`(pixels,)` int64, the cell that each pixel of an axis lies in, as `interpolate(mode="nearest")` has it."""
    numbers = torch.arange(cells, dtype=torch.float32).view(1, 1, -1)
    return F.interpolate(numbers, size=pixels, mode="nearest").view(-1).long()
