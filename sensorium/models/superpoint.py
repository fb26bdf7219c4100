"""SuperPoint over whole batches: dense scores and descriptors in one graph, then the points of all pictures at once.

DeTone, Malisiewicz, Rabinovich: SuperPoint: Self-Supervised Interest Point Detection and Description,
https://arxiv.org/abs/1712.07629. What it finds is what Transformers' `SuperPointForKeypointDetection` finds, which
takes its points picture by picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.models.on_device import sent

CELL = 8  # px of a side of the square that one cell of the encoder's map stands for


@dataclass(frozen=True)
class PointSearch:
    """What counts as a point.

    Attributes:
        threshold: the score that a point exceeds.
        max_points: points per picture, the best ones; below 0 for all.
        radius: px; of points nearer to each other than this, along both axes, the best one stays.
        border: px; points nearer to the left or the upper border are dropped.
    """

    threshold: float
    max_points: int
    radius: int
    border: int

    @classmethod
    def of(cls, config: Any, **overrides: Any) -> PointSearch:
        """The checkpoint's own search, with what a call wants otherwise (None: nothing)."""
        own = {
            "threshold": config.keypoint_threshold,
            "max_points": config.max_keypoints,
            "radius": config.nms_radius,
            "border": config.border_removal_distance,
        }
        return cls(**{**own, **{name: value for name, value in overrides.items() if value is not None}})


@dataclass(frozen=True)
class Points:
    """The points of a batch, picture after picture.

    Attributes:
        batch: `(K,)` int64, the row of each point's picture.
        xy: `(K, 2)` int64, px of the pictures that the model saw.
        scores: `(K,)` float32.
        counts: how many points each picture has.
    """

    batch: Tensor
    xy: Tensor
    scores: Tensor
    counts: list[int]


def dense(model: Any, pixels: Tensor, *, descriptors: bool) -> dict[str, Tensor]:
    """Scores of all pixels and descriptors of all cells; tensors only, so that it can be compiled.

    Args:
        model: a `SuperPointForKeypointDetection`.
        pixels: `(B, C, H, W)` of which the first channel is looked at, in the model's dtype.
        descriptors: whether they are wanted.

    Returns:
        `scores`, `(B, 8h, 8w)` float32; `descriptors`, `(B, D, h, w)` float32 of length 1, where wanted; h and w are
        the sides of the picture in whole cells.
    """
    encoded = model.encoder(pixels[:, :1], return_dict=False)[0]
    head = model.keypoint_decoder
    logits = head.conv_score_b(F.relu(head.conv_score_a(encoded)))
    shares = logits.float().softmax(dim=1)[:, :-1]  # the last class is "no point in this cell"
    outputs = {"scores": F.pixel_shuffle(shares, CELL)[:, 0].contiguous()}
    if descriptors:
        head = model.descriptor_decoder
        maps = head.conv_descriptor_b(F.relu(head.conv_descriptor_a(encoded)))
        outputs["descriptors"] = F.normalize(maps.float(), dim=1)
    return outputs


def suppress(scores: Tensor, radius: int) -> Tensor:
    """Keeps scores that are the highest within a square, and zeroes the rest.

    What a kept point has suppressed no longer suppresses others: twice, points in its shadow's shadow come back.

    Args:
        scores: `(B, H, W)` float32.
        radius: px from a square's middle to its side, from 0.

    Returns:
        `(B, H, W)` float32.
    """
    best = scores == _largest(scores, radius)
    for _ in range(2):
        shadow = _any(best, radius)
        rest = torch.where(shadow, 0.0, scores)
        best = best | ((rest == _largest(rest, radius)) & ~shadow)
    return torch.where(best, scores, 0.0)


def find(scores: Tensor, search: PointSearch) -> Points:
    """The points of a batch of suppressed scores, row of pixels by row, or best first where they were too many.

    Args:
        scores: `(B, H, W)` float32, as `suppress` leaves them.
        search: what counts.
    """
    mask, border = scores > search.threshold, search.border
    for axis in (1, 2) if border > 0 else ():
        mask.narrow(axis, 0, min(border, mask.shape[axis])).fill_(False)
        # The reference takes the far border for eight times as far as it is; only an enormous `border` reaches it.
        far = min(max(CELL * mask.shape[axis] - border, 0), mask.shape[axis])
        mask.narrow(axis, far, mask.shape[axis] - far).fill_(False)
    places, counts = _places(mask)
    batch, y, x = places.unbind(1)
    values = scores[batch, y, x]
    if search.max_points >= 0 and max(counts, default=0) > search.max_points:
        kept = _best(values, counts, search.max_points)
        batch, y, x, values = (column[kept] for column in (batch, y, x, values))
        counts = [min(count, search.max_points) for count in counts]
    return Points(batch, torch.stack([x, y], dim=1), values, counts)


def describe(maps: Tensor, points: Points) -> Tensor:
    """The descriptors at points, interpolated between cells.

    Args:
        maps: `(B, D, h, w)` float32.
        points: of this batch.

    Returns:
        `(K, D)` float32 of length 1.
    """
    count, _, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1).reshape(count * height * width, -1)
    size = sent([width, height], maps.device)
    # Step by step as the reference scales to [-1, 1] and grid_sample (align_corners=True) scales back.
    unit = (points.xy.float() - CELL / 2 + 0.5) / (size * CELL - CELL / 2 - 0.5)
    at = (unit * 2 - 1 + 1) / 2 * (size - 1)
    low = at.floor()
    share = at - low
    corners, weights = [], []
    for corner in low + sent([[[0, 0]], [[1, 0]], [[0, 1]], [[1, 1]]], maps.device):
        near = torch.where(corner == low, 1 - share, share).prod(dim=1)
        inside = ((corner >= 0) & (corner < size)).all(dim=1)
        cell = torch.minimum(corner.long().clamp(min=0), size - 1)
        corners.append((points.batch * height + cell[:, 1]) * width + cell[:, 0])
        weights.append(near * inside)
    mixed = F.embedding_bag(torch.stack(corners, 1), rows, per_sample_weights=torch.stack(weights, 1), mode="sum")
    return F.normalize(mixed, dim=1)


def _places(mask: Tensor) -> tuple[Tensor, list[int]]:
    """Where a `(B, H, W)` mask is true, `(K, 3)` int64, and how many of the places are each row's; one wait."""
    if mask.device.type == "cpu":
        places = mask.nonzero()
        return places, torch.bincount(places[:, 0], minlength=len(mask)).tolist()
    counts: list[int] = mask.flatten(1).sum(1).tolist()
    return torch.nonzero_static(mask, size=sum(counts)), counts


def _best(values: Tensor, counts: Sequence[int], limit: int) -> Tensor:
    """Positions of the `limit` highest values of each run, best first where a run was cut."""
    kept, start = [], 0
    for count in counts:
        run = torch.arange(start, start + count, device=values.device)
        kept.append(run if count <= limit else start + values[start : start + count].topk(limit).indices)
        start += count
    return torch.cat(kept)


def _largest(values: Tensor, radius: int) -> Tensor:
    """The largest value within a square, as a max pooling with stride 1: along one axis, then along the other.

    Windows double in width, so that a width of 9 takes 4 steps over whole rows: on the CPU eight times as fast as
    `max_pool2d`, which looks at 81 values for each.
    """
    for axis, pad in ((-1, (radius, radius)), (-2, (0, 0, radius, radius))):
        values = _slide(F.pad(values, pad, value=float("-inf")), axis, 2 * radius + 1, torch.maximum)
    return values


def _any(mask: Tensor, radius: int) -> Tensor:
    """Whether anything within a square is true."""
    for axis, pad in ((-1, (radius, radius)), (-2, (0, 0, radius, radius))):
        mask = _slide(F.pad(mask, pad), axis, 2 * radius + 1, torch.logical_or)
    return mask


def _slide(values: Tensor, axis: int, width: int, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    have = 1
    while have < width:
        step = min(have, width - have)
        left = values.shape[axis] - step
        values = join(values.narrow(axis, 0, left), values.narrow(axis, step, left))
        have += step
    return values
