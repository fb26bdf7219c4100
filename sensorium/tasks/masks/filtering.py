"""From a mask's logits to the mask: back to the picture's own size, filters, boxes and runs; float32, on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.tasks.masks.mask_batch import MaskBatch

CHUNK_PIXELS = {"cpu": 1 << 20, "cuda": 256 << 20}
"""Pixels of masks at full size that are held at once; more are made in turn."""

BLOCK = 64
"""Pixels along an axis that are interpolated in one product on the CPU; on a GPU it is all of them."""

EDGE_PX = 20.0
"""How near to a crop's edge, within the picture, a mask is taken for cut off."""


class MaskThresholds(Protocol):
    """The options that masks are filtered by."""

    @property
    def mask_threshold(self) -> float: ...  # noqa: D102 - named as the option
    @property
    def stability_score_offset(self) -> float: ...  # noqa: D102
    @property
    def stability_score_thresh(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Frame:
    """Where a unit's pixels lie.

    Attributes:
        crop: xyxy px of the picture that the unit is.
        image_size: (height, width) of the whole picture, px.
        resized: (height, width) of the crop as the model sees it, px, without padding.
        square: px of the model's square.
    """

    crop: tuple[int, int, int, int]
    image_size: tuple[int, int]
    resized: tuple[int, int]
    square: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the crop, px."""
        left, top, right, bottom = self.crop
        return bottom - top, right - left

    @property
    def whole(self) -> bool:
        """Whether the crop is the whole picture."""
        return self.size == self.image_size


class Interpolation:
    """Linear interpolation along an axis as products: each block of pixels takes from the few logits near to it.

    Args:
        weights: `(s, L)`, what each pixel takes of each logit.
        reach: how many of the logits have a part in any pixel, at most.
    """

    def __init__(self, weights: Tensor, reach: int) -> None:
        self.length = weights.shape[1]
        self._blocks = []
        block = BLOCK if weights.device.type == "cpu" else self.length
        for at in range(0, self.length, block):
            part, logits = weights[:, at : at + block], slice(0, reach)
            if weights.device.type == "cpu":
                near = part.any(1).nonzero()[:, 0].tolist()
                logits = slice(near[0], near[-1] + 1)
            self._blocks.append((logits, slice(at, at + part.shape[1]), part[logits].contiguous()))

    def __call__(self, lines: Tensor) -> Tensor:
        """`(N, s)` as `(N, L)`."""
        longer = lines.new_empty(len(lines), self.length)
        for logits, pixels, weights in self._blocks:
            torch.mm(lines[:, logits], weights, out=longer[:, pixels])
        return longer


@dataclass
class Enlarger:
    """Brings logits of `(s, s)` to a crop's own size, as the reference does: to the square, cut, to the crop.

    Both steps interpolate linearly along each axis, so together they are one product a side.

    Attributes:
        frame: the crop.
        padded: whether the model's square is the resized crop and padding, as SAM's, or the crop alone, as SAM 2's.
    """

    frame: Frame
    padded: bool
    _axes: dict[int, tuple[Interpolation, Interpolation]] = field(default_factory=dict)

    def __call__(self, masks: Tensor) -> Tensor:
        """`(K, s, s)` float32 logits as `(K, width, height)`: column by column, as runs are counted."""
        side = masks.shape[-1]
        if side not in self._axes:
            height, width = self.frame.size
            down, across = self.frame.resized
            self._axes[side] = (self._axis(side, down, height, masks), self._axis(side, across, width, masks))
        rows, columns = self._axes[side]
        wide = columns(masks.flatten(0, 1)).view(len(masks), side, -1).transpose(1, 2)
        return rows(wide.reshape(-1, side)).view(len(masks), wide.shape[1], -1)

    def _axis(self, side: int, resized: int, own: int, like: Tensor) -> Interpolation:
        weights, reach = torch.eye(side, device=like.device)[None], side
        if self.padded:
            reach = _reach(side, resized, self.frame.square)
            weights = F.interpolate(weights, self.frame.square, mode="linear", align_corners=False)[..., :resized]
        weights = F.interpolate(weights, own, mode="linear", align_corners=False)
        return Interpolation(weights[0], reach)


def _reach(side: int, resized: int, square: int) -> int:
    """How many of a square's logits have a part in the first `resized` of its pixels, or one more than that."""
    return min(side, resized * side // square + 2)


def measure(
    masks: Tensor, scores: Tensor, objects: Tensor, enlarge: Enlarger, options: MaskThresholds, *, strict: bool
) -> list[MaskBatch]:
    """Enlarges masks, a few at a time, and keeps those that are stable and whole.

    Args:
        masks: `(K, s, s)` float32 logits.
        scores: `(K,)` float32.
        objects: `(K,)` int64.
        enlarge: to the crop's size.
        options: the thresholds.
        strict: whether unstable masks, and those that a crop cuts off, are left out.

    Returns:
        What is left of each chunk; on a device with what is left out, which `kept` tells.
    """
    frame = enlarge.frame
    height, width = frame.size
    room = CHUNK_PIXELS.get(masks.device.type, CHUNK_PIXELS["cpu"])
    step = max(1, room // max(height * width, frame.image_size[0] * frame.image_size[1]))
    kept = []
    for at in range(0, len(masks), step):
        part = slice(at, at + step)
        chunk = _measure(enlarge(masks[part]), scores[part], objects[part], frame, options, strict=strict)
        if len(chunk):
            kept.append(chunk)
    return kept


def _measure(
    logits: Tensor, scores: Tensor, objects: Tensor, frame: Frame, options: MaskThresholds, *, strict: bool
) -> MaskBatch:
    """One chunk of `(K, width, height)` logits."""
    threshold, offset = options.mask_threshold, options.stability_score_offset
    inner, outer = _count(logits > threshold + offset), _count(logits > threshold - offset)
    stability = inner.float() / outer.float()  # nan where nothing is left, which passes no threshold
    kept = torch.ones_like(scores, dtype=torch.bool)
    if strict and options.stability_score_thresh > 0:
        kept = stability > options.stability_score_thresh
        kept, logits, scores, objects, stability = _left(kept, logits, scores, objects, stability)
    masks = logits > threshold
    boxes = boxes_of(masks)
    if strict and not frame.whole:
        kept = kept & ~_cut_off(boxes, frame)
        kept, masks, scores, objects, stability, boxes = _left(kept, masks, scores, objects, stability, boxes)
    if strict and masks.device.type != "cpu":
        masks &= kept[:, None, None]
    if not frame.whole:
        left, top, right, bottom = frame.crop
        boxes = boxes + sent([left, top, left, top], boxes.device)
        masks = F.pad(masks, (top, frame.image_size[0] - bottom, left, frame.image_size[1] - right))
    starts, lengths, changes = runs_of(masks)
    return MaskBatch(scores, stability.nan_to_num(0.0), boxes, objects, kept, starts, lengths, changes)


def _left(kept: Tensor, *columns: Tensor) -> Iterator[Tensor]:
    """On the CPU the rows that are kept, of which nothing more is to be computed; on a device all of them."""
    if kept.device.type != "cpu":
        return iter((kept, *columns))
    rows = kept.nonzero()[:, 0]
    return (column[rows] for column in (kept, *columns))


def boxes_of(masks: Tensor) -> Tensor:
    """The boxes around masks.

    Args:
        masks: `(K, width, height)` bool.

    Returns:
        `(K, 4)` int64, xyxy px, both edges within the mask; zeros where it is empty.
    """
    numbers = masks.view(torch.uint8)  # its maximum is vectorised on the CPU, and `any` is not
    columns, rows = numbers.amax(2), numbers.amax(1)
    (left, right), (top, bottom) = _ends(columns), _ends(rows)
    return torch.stack([left, top, right, bottom], dim=1) * columns.amax(1)[:, None].long()


def runs_of(masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where masks begin and end.

    Args:
        masks: `(K, width, height)` bool.

    Returns:
        `starts`, `lengths` and `changes` of `MaskBatch`.
    """
    flat = masks.flatten(1)
    differs = flat[:, 1:] != flat[:, :-1]
    which, where = differs.nonzero(as_tuple=True)
    # where little has to be counted it is faster to count that; on a device it would make the host wait again
    lengths = torch.bincount(which, minlength=len(flat)) if flat.device.type == "cpu" else differs.sum(1)
    return flat[:, 0].clone(), lengths, (where + 1).to(torch.int32 if flat.shape[1] < 2**31 else torch.int64)


def _ends(line: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last place that is set in each row of `(K, L)` uint8."""
    return line.argmax(1), line.shape[1] - 1 - line.flip(1).argmax(1)


def _cut_off(boxes: Tensor, frame: Frame) -> Tensor:
    """`(K,)`: whether a mask in a crop ends at an edge that is not the picture's."""
    left, top, _, _ = frame.crop
    height, width = frame.image_size
    numbers = [[left, top, left, top], list(frame.crop), [0, 0, width, height]]
    origin, crop, image = sent(numbers, boxes.device)
    own = (boxes + origin).float()
    at_crop = (own - crop.float()).abs() <= EDGE_PX
    at_image = (own - image.float()).abs() <= EDGE_PX
    cut: Tensor = (at_crop & ~at_image).any(1)
    return cut


def _count(masks: Tensor) -> Tensor:
    """`(K,)` int64: the pixels of `(K, …)` bool."""
    flat = masks.flatten(1)
    if flat.device.type != "cpu":
        return flat.sum(1)
    # Eight at a time as the bytes of one word, of which 128 fill no byte: bools are not summed in vectors.
    whole = flat.shape[1] // 1024 * 1024
    words = flat[:, :whole].reshape(-1).view(torch.int64).view(len(flat), -1, 128).sum(2)
    return words.view(torch.uint8).sum(1) + flat[:, whole:].sum(1)
