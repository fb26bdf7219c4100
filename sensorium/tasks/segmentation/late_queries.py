"""Panoptic and instance segments by rules that look at masks at the picture's own size, as those of EoMT do.

The masks of all candidates at that size would take a float a px each; they are made in slabs of rows, and not kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sensorium.models.on_device import brought, sent
from sensorium.tasks.segmentation.maps import upsampled
from sensorium.tasks.segmentation.queries import FoundSegments, SegmentThresholds, counted

MOST_KEPT = 1 << 26
"""Pixels of masks, a byte each, that are kept between two looks at a picture."""

Size = tuple[int, int]
Bring = Callable[[Tensor, Size], Tensor]
"""Takes `(K, h, w)` masks and a picture's (H, W) in px, and gives the masks without padding."""


class Candidates(NamedTuple):
    """What may be an object in the pictures of a batch, in order.

    Attributes:
        scores: `(B, K)` float32 in [0, 1].
        queries: `(B, K)` int64, whose mask it has.
        ids: `(B, K)` int64, its class.
    """

    scores: Tensor
    queries: Tensor
    ids: Tensor


class ObjectRule(NamedTuple):
    """How candidates become objects.

    Attributes:
        weighted: whether a score is times the mean probability within the mask.
        ranked: whether earlier objects cover later ones, and those of which nothing is left go; else later ones cover.
    """

    weighted: bool
    ranked: bool


def by_query(classes: Tensor) -> Candidates:
    """One candidate a query, with its best class; `classes` is `(B, Q, C + 1)` logits, the last for "no object"."""
    scores, ids = classes.softmax(-1)[..., :-1].max(-1)
    return Candidates(scores, torch.arange(scores.shape[1], device=ids.device).expand_as(ids), ids)


def by_pair(scores: Tensor) -> Candidates:
    """As many pairs of query and class as there are queries, best first; `scores` is `(B, Q, C)`."""
    queries, labels = scores.shape[1:]
    best, pairs = scores.flatten(1).topk(queries)
    return Candidates(best, pairs // labels, pairs % labels)


def late_panoptic(
    classes: Tensor, masks: Tensor, sizes: list[Size], at_least: SegmentThresholds, bring: Bring
) -> list[FoundSegments]:
    """Segments that share no pixel: each pixel goes to the query with the largest product of score and probability.

    What is below the threshold of masks in that query's own mask belongs to no segment.

    Args:
        classes: `(B, Q, C + 1)` float32 logits, the last class for "no object".
        masks: `(B, Q, h, w)` float32 logits.
        sizes: (H, W) of each picture, px.
        at_least: the thresholds; that of masks is for probabilities, whatever the score.
        bring: takes the padding off the candidates' masks.
    """
    scores, ids = classes.softmax(-1).max(-1)
    scores_cpu, ids_cpu = torch.stack([scores, ids.to(scores.dtype)]).cpu()
    segments = []
    for row, size in enumerate(sizes):
        keep = ((ids_cpu[row] != classes.shape[-1] - 1) & (scores_cpu[row] > at_least.score)).nonzero()[:, 0]
        chosen = sent(keep, classes.device)
        segmentation, valid = _assigned(bring(masks[row, chosen], size), scores[row, chosen], size, at_least)
        segments.append(FoundSegments(segmentation, valid, ids_cpu[row, keep].long(), scores_cpu[row, keep]))
    return segments


def _assigned(masks: Tensor, scores: Tensor, size: Size, at_least: SegmentThresholds) -> tuple[Tensor, Tensor]:
    """The map and the validity of the candidates of a picture."""
    count, device = len(scores), masks.device
    if not count:
        return torch.zeros(size, dtype=torch.int16, device=device), torch.zeros(0, dtype=torch.bool, device=device)
    whole, own, left = torch.zeros((3, count), dtype=torch.int64, device=device)
    numbers = torch.arange(count + 1, device=device)
    rows = []
    for slab in upsampled(masks, size):
        probabilities = slab.sigmoid_()
        inside = probabilities >= at_least.mask
        winner = probabilities.mul_(scores.view(-1, 1, 1)).argmax(0)
        rows.append(torch.where(inside.gather(0, winner[None])[0], winner, count))  # `count` for no segment
        whole += inside.flatten(1).sum(1)
        own += counted(winner, numbers)[:-1]
        left += counted(rows[-1], numbers)[:-1]
    valid = (left > 0) & (own / whole > at_least.overlap)
    value = torch.cat([torch.where(valid, numbers[1:], 0), numbers[:1]])
    return value[torch.cat(rows)].to(torch.int16), valid


def late_instances(
    candidates: Candidates,
    masks: Tensor,
    sizes: list[Size],
    at_least: SegmentThresholds,
    rule: ObjectRule,
    *,
    bring: Bring | None = None,
    overlapping: bool = False,
) -> list[FoundSegments]:
    """Objects, each with the pixels of its mask that no other one covers.

    Args:
        candidates: what may be an object.
        masks: `(B, Q, h, w)` float32 logits.
        sizes: (H, W) of each picture, px.
        at_least: the thresholds of scores, and of probabilities in masks.
        rule: how candidates become objects.
        bring: takes the padding off the candidates' masks; None where there is none.
        overlapping: whether to give each object its whole mask.
    """
    scores, queries, ids = torch.stack([each.to(torch.float32) for each in candidates]).cpu()  # exact below 2^24
    bar = _logit(at_least.mask)
    drawn, found, kept = [], [], []
    for row, size in enumerate(sizes):
        passing = scores[row] >= at_least.score if rule.weighted else scores[row] > at_least.score
        keep = passing.nonzero()[:, 0]
        own, chosen = sent(queries[row, keep].long(), masks.device), sent(keep, masks.device)
        logits, confident = masks[row, own], candidates.scores[row, chosen]
        logits = logits if bring is None else bring(logits, size)
        seen, inside = torch.ones_like(confident, dtype=torch.bool), None
        if rule.weighted and len(keep):  # a mean probability makes no score larger
            means, inside = _confidence(logits, size, bar)
            confident = confident * means
            seen = confident >= at_least.score
        slabs = (slab > bar for slab in upsampled(logits, size)) if inside is None else inside
        drawn.append(_drawn(slabs, size, seen, ranked=rule.ranked, overlapping=overlapping))
        found.append(confident)
        kept.append(ids[row, keep].long())
    rows = zip(drawn, kept, brought(found), strict=True)
    return [FoundSegments(*drawing, labels, confident) for drawing, labels, confident in rows]


def _logit(probability: float) -> float:
    if probability in (0, 1):
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability / (1 - probability))


def _confidence(logits: Tensor, size: Size, bar: float) -> tuple[Tensor, list[Tensor] | None]:
    """`(K,)` the mean probability within each of `(K, h, w)` masks at a size, 0 for one without pixels.

    And which pixels are within, in slabs of rows; None where they are too many to be kept.
    """
    kept: list[Tensor] | None = [] if len(logits) * size[0] * size[1] <= MOST_KEPT else None
    total, count = torch.zeros((2, len(logits)), device=logits.device)
    for slab in upsampled(logits, size):
        inside = slab > bar
        count += inside.flatten(1).sum(1)
        total += slab.sigmoid_().mul_(inside).flatten(1).sum(1)
        if kept is not None:
            kept.append(inside)
    return total / (count + 1e-6), kept


def _drawn(
    slabs: Iterable[Tensor], size: Size, seen: Tensor, *, ranked: bool, overlapping: bool
) -> tuple[Tensor, Tensor]:
    """The map, `(H, W)` int16, or `(K, H, W)` bool where masks may overlap, and which masks have pixels in it."""
    count, device = len(seen), seen.device
    if not count:
        blank = torch.zeros((0, *size) if overlapping else size, dtype=torch.int16, device=device)
        return (blank.bool() if overlapping else blank), seen
    numbers = torch.arange(1, count + 1, dtype=torch.int16, device=device)
    layers = torch.where(seen, numbers.flip(0) if ranked else numbers, 0).view(-1, 1, 1)
    rows, any_px = [], torch.zeros(count, dtype=torch.int64, device=device)
    for inside in slabs:
        if overlapping:
            rows.append(inside & seen.view(-1, 1, 1))
            any_px += rows[-1].flatten(1).sum(1)
            continue
        top = (inside * layers).amax(0)
        rows.append(torch.where(top > 0, count + 1 - top, 0) if ranked else top)
        own = counted(rows[-1], torch.arange(count + 1, device=device))[1:] if ranked else inside.flatten(1).sum(1)
        any_px += own
    return torch.cat(rows, dim=-2), (any_px > 0) & seen
