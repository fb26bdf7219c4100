"""keypoint-matching: which points of two pictures show the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError
from sensorium.models.lightglue import lightglue
from sensorium.models.matching import Links, Pairs, gather, groups
from sensorium.models.superglue import superglue
from sensorium.models.superpoint import CELL, Points, PointSearch, dense, describe, find, suppress
from sensorium.processors.media import load_image
from sensorium.results import Matches
from sensorium.tasks.base import Batch, Call, Models, Options, Task, Unit
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.options import Range, Share

MATCHERS: dict[str, Callable[[Any, Pairs], Links]] = {"lightglue": lightglue, "superglue": superglue}


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
    models = (Models("AutoModelForKeypointMatching", only=MATCHERS),)
    default = "magic-leap-community/superglue_outdoor@f4041f8"

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
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
        """Decodes and fits both pictures; `meta` holds their widths and heights."""
        images = [load_image(item, limits=self.limits) for item in _pair(raw)]
        fitted = [self.processor.fit(image)["pixel_values"] for image in images]
        if fitted[0].shape != fitted[1].shape:
            both = " and ".join(f"{item.shape[2]}x{item.shape[1]}" for item in fitted)
            raise InputError(
                f"this checkpoint does not resize pictures to one size, and the two of this pair have {both} px; give "
                "two of one size",
                code="mixed-sizes",
            )
        if min(fitted[0].shape[1:]) < CELL:
            raise InputError(
                f"pictures of at least {CELL} px per side are needed, got {fitted[0].shape}", code="too-narrow"
            )
        sizes = tuple((image.shape[2], image.shape[1]) for image in images)
        return [Unit({"pixel_values": torch.stack(fitted)}, meta=sizes)]

    def forward(self, batch: Batch, options: KeypointMatchingOptions, call: Call) -> Any:
        """Finds the points of all pictures in one call, then matches pairs with like numbers of points together."""
        pixels = batch["pixel_values"].flatten(0, 1)
        model: Any = self.model
        search = PointSearch.of(
            model.config.keypoint_detector_config,
            threshold=options.keypoint_threshold,
            max_points=options.max_keypoints,
        )
        maps = call(self._dense, pixels)
        points = find(suppress(maps["scores"], search.radius), search)
        descriptors = describe(maps["descriptors"], points)
        size = (pixels.shape[3], pixels.shape[2])
        max_points = max([*points.counts, 1])
        links = Links.none(len(points.counts) // 2, max_points, pixels.device)
        for pairs in groups(points.counts):
            matched = self._match(self.model, gather(points, descriptors, pairs, size))
            rows = torch.tensor(pairs, device=pixels.device)
            links.partner[rows, : matched.partner.shape[1]] = matched.partner
            links.scores[rows, : matched.scores.shape[1]] = matched.scores
        return _ends(points, links, size)

    def decode(self, outputs: Any, metas: Sequence[Any], options: KeypointMatchingOptions) -> Sequence[Any]:
        """One (xy of the first picture, xy of the second, scores) per pair, best first."""
        scores, order = outputs["scores"].sort(dim=1, descending=True, stable=True)
        sizes = torch.tensor(metas, dtype=torch.float32).to(scores.device)
        ends = outputs["shares"].gather(1, order[..., None, None].expand(-1, -1, 2, 2)) * sizes[:, None]
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

    def _dense(self, pixels: Tensor) -> dict[str, Tensor]:
        finished = self.processor.finish({"pixel_values": pixels}, dtype=self.dtype)["pixel_values"]
        detector: Any = self.model.keypoint_detector
        return dense(detector, finished, descriptors=True)


def _ends(points: Points, links: Links, size: tuple[int, int]) -> dict[str, Tensor]:
    """Where the points of each link lie.

    Returns:
        `shares`, `(P, M, 2, 2)` float32: for each link of a pair, x and y of both points in shares of their pictures;
        `scores`, `(P, M)` float32, 0 where there is no link.
    """
    device = links.scores.device
    counts = torch.tensor(points.counts, dtype=torch.int64)
    starts = (counts.cumsum(0) - counts).to(device)
    shares = points.xy.float() / torch.tensor(size, device=device)
    linked = links.partner >= 0
    max_links = int(linked.sum(dim=1).max()) if len(linked) else 0
    order = (~linked).to(torch.uint8).argsort(dim=1, stable=True)[:, :max_links]
    valid = linked.gather(1, order)
    first = torch.where(valid, starts[0::2, None] + order, 0)
    second = torch.where(valid, starts[1::2, None] + links.partner.gather(1, order), 0)
    if not len(shares):
        return {"shares": shares.new_zeros((len(linked), 0, 2, 2)), "scores": shares.new_zeros((len(linked), 0))}
    ends = torch.stack([shares[first], shares[second]], dim=2)
    return {"shares": ends, "scores": torch.where(valid, links.scores.gather(1, order), 0.0)}


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
