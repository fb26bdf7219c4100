"""keypoint-matching: which points of two pictures show the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError, OptionError
from sensorium.models.efficientloftr import compared, refined
from sensorium.models.lightglue import lightglue
from sensorium.models.matching import Links, Pairs, gather, groups
from sensorium.models.on_device import brought, sent
from sensorium.models.superglue import superglue
from sensorium.models.superpoint import CELL, Points, PointSearch, dense, describe, find, suppress
from sensorium.processors.media import load_image
from sensorium.results import Matches
from sensorium.tasks.base import Batch, Call, Models, Options, Task, Unit
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.options import Range, Share

MATCHERS: dict[str, Callable[[Any, Pairs], Links]] = {"lightglue": lightglue, "superglue": superglue}

DENSE = "efficientloftr"
"""The type of models that match pixels, and find no points in each picture first."""


@dataclass(frozen=True)
class KeypointMatchingOptions(Options):
    """The options of a call.

    Attributes:
        threshold: the score in [0, 1] that a match exceeds, besides the checkpoint's own threshold.
        keypoint_threshold: the score in [0, 1] that a point exceeds to be looked at; None for the checkpoint's own.
        max_keypoints: how many points of a picture are considered at most, the best ones; -1 for all, None for the
            checkpoint's own.
    """

    threshold: Share = 0.0
    keypoint_threshold: Share | None = None
    max_keypoints: Annotated[int, Range(-1, special="-1 for all")] | None = None


class KeypointMatching(Task):
    """Pairs of points with scores, as Transformers' pipeline of the same name gives them."""

    name = "keypoint-matching"
    summary = "which points of two pictures show the same place"
    inputs = ("image0", "image1")
    options = KeypointMatchingOptions
    models = (Models("AutoModelForKeypointMatching", only=(*MATCHERS, DENSE)),)
    default = "magic-leap-community/superglue_outdoor@f4041f8"

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        self._dense = config.model_type == DENSE
        if self._dense:
            self._least = CELL * config.q_aggregation_stride
            return
        self._least = CELL
        detector = config.keypoint_detector_config.model_type
        if detector != "superpoint":
            raise CheckpointError(
                f"{self.name} finds points with SuperPoint, and this {config.model_type} checkpoint wants "
                f"{detector!r}; use one that was trained on SuperPoint's points"
            )
        self._match = MATCHERS[config.model_type]

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers matcher with its detector."""
        from transformers import AutoModelForKeypointMatching

        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForKeypointMatching, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers matcher with its processor."""
        return cls(model, processor_of(model, processor))

    def expand(self, inputs: Any) -> list[Any] | None:
        """A list or tuple of pictures is one pair; one of pairs, or of mappings, is several; so is a 5-D array."""
        if isinstance(inputs, (list, tuple)):
            images = inputs and not any(isinstance(item, (list, tuple, Mapping)) or _axes(item) == 4 for item in inputs)
            return None if images else list(inputs)
        return list(inputs) if _axes(inputs) == 5 else None

    def split(self, raw: Any, options: Any) -> Iterable[Unit]:
        """Decodes and fits both pictures; `meta` holds their widths and heights, and those that the model sees."""
        images = [load_image(item, limits=self.limits) for item in _pair(raw)]
        fitted = [self.processor.fit(image)["pixel_values"] for image in images]
        if fitted[0].shape != fitted[1].shape:
            both = " and ".join(f"{item.shape[2]}x{item.shape[1]}" for item in fitted)
            raise InputError(
                f"this checkpoint does not resize pictures to one size, and the two of this pair have {both} px; give "
                "two of one size",
                code="mixed-sizes",
            )
        if min(fitted[0].shape[1:]) < self._least:
            raise InputError(
                f"pictures of at least {self._least} px per side are needed, got {fitted[0].shape}", code="too-narrow"
            )
        if self._dense and any(side % self._least for side in fitted[0].shape[1:]):
            raise InputError(
                f"this checkpoint looks at pictures whose sides are multiples of {self._least} px, and its processor "
                f"made one of {fitted[0].shape[2]}x{fitted[0].shape[1]} px; give others, or a processor= that resizes",
                code="no-multiple",
            )
        sizes = tuple((image.shape[2], image.shape[1]) for image in images)
        seen = (fitted[0].shape[2], fitted[0].shape[1])
        return [Unit({"pixel_values": torch.stack(fitted)}, meta=(sizes, seen))]

    def check(self, options: KeypointMatchingOptions) -> None:
        """Refuses options of points for a model that finds none."""
        for name in ("keypoint_threshold", "max_keypoints"):
            if self._dense and getattr(options, name) is not None:
                raise OptionError(
                    f"{name} has no effect on {type(self.model).__name__}, which finds no points before it matches; "
                    "leave it out"
                )

    def forward(self, batch: Batch, options: KeypointMatchingOptions, call: Call) -> dict[str, Tensor]:
        """Runs the detector on all pictures in one call, and thins its scores out; the rest depends on their points.

        Returns:
            `scores`, `(P, 2, H, W)`, and `descriptors`, `(P, 2, D, h, w)`; of a model that matches pixels what
            `compared` gives.
        """
        if self._dense:
            outputs: dict[str, Tensor] = call(self._compared, batch["pixel_values"])
            return outputs
        maps = call(self._found, batch["pixel_values"].flatten(0, 1))
        scores = suppress(maps["scores"], self._search(options).radius)
        return {"scores": scores.unflatten(0, (-1, 2)), "descriptors": maps["descriptors"].unflatten(0, (-1, 2))}

    def decode(self, outputs: Any, metas: Sequence[Any], options: KeypointMatchingOptions) -> Sequence[Any]:
        """One (xy of the first picture, xy of the second, scores) per pair, best first.

        Points are found, and pairs with like numbers of them matched together.
        """
        if self._dense:
            return self._refined(outputs, metas, options)
        points = find(outputs["scores"].flatten(0, 1), self._search(options))
        descriptors = describe(outputs["descriptors"].flatten(0, 1), points)
        size, device = metas[0][1], points.scores.device
        links = Links.none(len(metas), max([*points.counts, 1]), device)
        for pairs in groups(points.counts):
            matched = self._match(self.model, gather(points, descriptors, pairs, size))
            rows = sent(pairs, device)
            links.partner[rows, : matched.partner.shape[1]] = matched.partner
            links.scores[rows, : matched.scores.shape[1]] = matched.scores
        scores, order = links.scores.sort(dim=1, descending=True, stable=True)
        originals = sent([sizes for sizes, _ in metas], device, torch.float32)
        ends = _ends(points, links, size).gather(1, order[..., None, None].expand(-1, -1, 2, 2)) * originals[:, None]
        tables = torch.cat([ends.flatten(2), scores[..., None]], dim=2).cpu().numpy()
        min_score = max(options.threshold, 0.0)
        kept = [rows[rows[:, 4] > min_score] for rows in tables]
        return [(rows[:, :2], rows[:, 2:4], rows[:, 4]) for rows in kept]

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Matches:
        """The one pair's matches."""
        return Matches(*parts[0], index=index)

    def example(self) -> tuple[Tensor, Tensor]:
        """A grey gradient of 375 by 500 px, twice."""
        image = torch.linspace(0, 255, 500).to(torch.uint8).expand(3, 375, 500).contiguous()
        return image, image

    def _search(self, options: KeypointMatchingOptions) -> PointSearch:
        model: Any = self.model
        return PointSearch.of(
            model.config.keypoint_detector_config,
            threshold=options.keypoint_threshold,
            max_points=options.max_keypoints,
        )

    def _compared(self, pixels: Tensor) -> dict[str, Tensor]:
        finished = self.processor.finish({"pixel_values": pixels.flatten(0, 1)}, dtype=self.dtype)["pixel_values"]
        return compared(self.model, finished.unflatten(0, (-1, 2)))

    def _refined(self, outputs: Any, metas: Sequence[Any], options: KeypointMatchingOptions) -> Sequence[Any]:
        scores, partner = outputs["scores"], outputs["partner"]
        seen = metas[0][1]
        pair, cell = (scores > options.threshold).nonzero().unbind(1)
        matches = torch.stack([pair, cell, partner[pair, cell]], dim=1)
        ends = refined(self.model, outputs["fine"], matches, columns=seen[0] // CELL)
        originals = sent([sizes for sizes, _ in metas], scores.device, torch.float32)
        ends = ends / sent(seen, scores.device) * originals[pair]
        of, best, xy = (tensor.numpy() for tensor in brought([pair, scores[pair, cell], ends]))
        order = np.lexsort((-best, of))
        parts = np.split(order, np.searchsorted(of[order], np.arange(1, len(metas))))
        return [(xy[rows, 0], xy[rows, 1], best[rows]) for rows in parts]

    def _found(self, pixels: Tensor) -> dict[str, Tensor]:
        finished = self.processor.finish({"pixel_values": pixels}, dtype=self.dtype)["pixel_values"]
        detector: Any = self.model.keypoint_detector
        return dense(detector, finished, descriptors=True)


def _ends(points: Points, links: Links, size: tuple[int, int]) -> Tensor:
    """`(P, N, 2, 2)` float32, for each point of a first picture its x and y and those of its partner, where it has one.

    They are in shares of the pictures, which the model saw at this (width, height), px.
    """
    if not len(points.scores):
        return points.scores.new_zeros((*links.scores.shape, 2, 2))
    device = links.scores.device
    counts = torch.tensor(points.counts, dtype=torch.int64)
    starts = sent(counts.cumsum(0) - counts, device)
    shares = points.xy.float() / sent(size, device)
    linked = links.partner >= 0
    numbers = torch.arange(links.partner.shape[1], device=device)
    first = torch.where(linked, starts[0::2, None] + numbers, 0)
    second = torch.where(linked, starts[1::2, None] + links.partner, 0)
    return torch.stack([shares[first], shares[second]], dim=2)


def _pair(raw: Any) -> tuple[Any, Any]:
    if isinstance(raw, Mapping):
        missing = [name for name in KeypointMatching.inputs if name not in raw]
        if not missing:
            return raw["image0"], raw["image1"]
        got = f"no {' and no '.join(missing)}"
    elif isinstance(raw, (list, tuple)) or _axes(raw) == 4:
        if len(raw) == 2:
            return raw[0], raw[1]
        got = f"{len(raw)} picture{'' if len(raw) == 1 else 's'}"
    else:
        got = type(raw).__name__
    raise InputError(
        f"expected a pair of pictures, (image0, image1), got {got}. Several pairs are a list of pairs.", code="no-pair"
    )


def _axes(value: Any) -> int | None:
    axes = getattr(value, "ndim", None)
    return axes if isinstance(axes, int) else None
