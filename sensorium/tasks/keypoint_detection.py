"""keypoint-detection: points that can be found again in another picture, or that have a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError, OptionError
from sensorium.models.on_device import brought, sent
from sensorium.models.superpoint import CELL, Points, PointSearch, dense, describe, find, suppress
from sensorium.processors.media import load_image
from sensorium.processors.region import region
from sensorium.results import Keypoints
from sensorium.tasks.base import Batch, Call, Models, Options, Unit
from sensorium.tasks.heads import Composite
from sensorium.tasks.heads.keypoints import HeatMapHead, locate_peaks
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.media.images import ImageTask
from sensorium.tasks.options import Range

OWN = "the checkpoint's own"


@dataclass(frozen=True)
class KeypointDetectionOptions(Options):
    """The options of a call.

    Attributes:
        threshold: the score in [0, 1] that a point exceeds; None for the checkpoint's own (0 for named points).
        max_keypoints: points per picture at most, those with the best scores; -1 for all, None for the checkpoint's.
        descriptors: whether to describe the points; None for where the model can.
        nms_radius: px of the picture that the model sees; of points nearer to each other than this the best one stays.
            None for the checkpoint's own.
        border_removal_distance: px of the picture that the model sees; points nearer to its left or upper border are
            dropped. None for the checkpoint's own.
    """

    threshold: Annotated[float | None, Range(0, 1, none=OWN)] = None
    max_keypoints: Annotated[int | None, Range(-1, special="-1 for all", none=OWN)] = None
    descriptors: bool | None = None
    nms_radius: Annotated[int | None, Range(0, unit="px", none=OWN)] = None
    border_removal_distance: Annotated[int | None, Range(0, unit="px", none=OWN)] = None


class KeypointDetection(ImageTask):
    """SuperPoint's points of interest with their descriptors, or the named points of a heat-map head on a backbone."""

    name = "keypoint-detection"
    summary = "which points of a picture stand out, or where its named points are"
    options = KeypointDetectionOptions
    models = (Models("AutoModelForKeypointDetection", only=("superpoint",)),)
    head = HeatMapHead

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        self._labels: list[str] | None = None
        self._one_channel = False
        recipe = self.processor.recipe
        if isinstance(model, Composite):
            self._labels = [model.id2label[i] for i in range(model.num_labels)]
            if recipe is None:
                raise CheckpointError(
                    "named keypoints are brought back to the original picture through the processor's recipe, which is "
                    "not known for this one; save the composite with an ImageProcessor whose `recipe` is not None"
                )
        elif recipe is not None:  # SuperPoint looks at the first channel: the other two need not go to the device
            self._one_channel = not recipe.grey and all(len(one.values) == 1 for one in recipe.arithmetic)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads SuperPoint from Transformers, or a composite."""
        loaded_processor = load_processor(processor, checkpoint)
        if checkpoint.kind == "composite":
            return cls(Composite.from_pretrained(checkpoint), loaded_processor)
        from transformers import AutoModelForKeypointDetection

        return cls(load_transformers(AutoModelForKeypointDetection, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded SuperPoint or composite with its processor."""
        return cls(model, processor_of(model, processor))

    def check(self, options: KeypointDetectionOptions) -> None:
        """Refuses options that do not apply to named points."""
        requested = {
            "descriptors": options.descriptors,
            "nms_radius": options.nms_radius is not None,
            "border_removal_distance": options.border_removal_distance is not None,
        }
        for name in (name for name, value in requested.items() if value and self._labels is not None):
            raise OptionError(f"{name} is for SuperPoint; this model gives one point for each of its names")

    def split(self, raw: Any, options: Any) -> Iterable[Unit]:
        """Decodes and fits the picture; `meta` holds its size and the part of it that the model sees."""
        image = load_image(raw, limits=self.limits)
        height, width = image.shape[1:]
        if self._labels is not None:
            fitted = self.processor.fit(image)
            return [Unit(fitted, meta=region(self.processor.recipe, height, width))]
        fitted = self.processor.fit(image)
        pixels = fitted["pixel_values"]
        rows, columns = pixels.shape[1:]
        if min(rows, columns) < CELL:
            raise InputError(
                f"SuperPoint needs at least {CELL} px per side, and this picture has {columns}x{rows} px after the "
                "checkpoint's own resize. Give a larger picture.",
                code="too-narrow",
            )
        pixels = pixels[:1].contiguous() if self._one_channel else pixels
        return [Unit({**fitted, "pixel_values": pixels}, meta=(width / 1, height / 1, columns, rows))]

    def forward(self, batch: Batch, options: KeypointDetectionOptions, call: Call) -> Any:
        """Runs the network and thins its scores out; points are picked from them in `decode`."""
        if self._labels is not None:
            return call(self.compute, batch)
        outputs = call(self._dense, batch, options.descriptors is not False)
        return {**outputs, "scores": suppress(outputs["scores"], self._search(options).radius)}

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """Named points: `xy`, `(B, K, 2)` in shares of the model's input, and `scores`, `(B, K)`."""
        logits = self.model(self.processor.finish(batch, dtype=self.dtype)["pixel_values"]).logits
        xy, scores = locate_peaks(logits)
        return {"xy": xy, "scores": scores}

    def decode(self, outputs: Any, metas: Sequence[Any], options: KeypointDetectionOptions) -> Sequence[Any]:
        """One (xy in px of the original picture, scores, names' numbers or None, descriptors or None) a picture."""
        return (
            self._named(outputs, metas, options) if self._labels is not None else self._found(outputs, metas, options)
        )

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Keypoints:
        """The one picture's points."""
        xy, scores, numbers, descriptors = parts[0]
        labels = None if numbers is None or self._labels is None else [self._labels[number] for number in numbers]
        return Keypoints(xy, scores, labels, descriptors, index=index)

    def _search(self, options: KeypointDetectionOptions) -> PointSearch:
        return PointSearch.of(
            self.model.config,
            threshold=options.threshold,
            max_points=options.max_keypoints,
            radius=options.nms_radius,
            border=options.border_removal_distance,
        )

    def _dense(self, batch: Batch, descriptors: bool) -> dict[str, Tensor]:
        pixels = self.processor.finish(batch, dtype=self.dtype)["pixel_values"]
        return dense(self.model, pixels, descriptors=descriptors)

    def _found(self, outputs: Any, metas: Sequence[Any], options: KeypointDetectionOptions) -> list[Any]:
        points = find(outputs["scores"], self._search(options))
        xy = original(points, torch.tensor(metas, dtype=torch.float32))
        columns = brought([xy, points.scores])
        if "descriptors" in outputs:
            columns.append(describe(outputs["descriptors"], points).cpu())
        columns_by_image = [column.split(points.counts) for column in columns]
        wide = columns_by_image[2] if len(columns_by_image) == 3 else [None] * len(metas)
        rows = zip(columns_by_image[0], columns_by_image[1], wide, strict=True)
        return [(a.numpy(), b.numpy(), None, None if c is None else c.numpy()) for a, b, c in rows]

    def _named(self, outputs: Any, metas: Sequence[Any], options: KeypointDetectionOptions) -> list[Any]:
        regions = sent(metas, outputs["xy"].device, torch.float32)[:, None]
        xy = regions[..., :2] + outputs["xy"].float() * (regions[..., 2:] - regions[..., :2])
        points = torch.cat([xy, outputs["scores"].float()[..., None]], dim=-1).cpu().numpy()
        threshold = options.threshold or 0.0
        limit = -1 if options.max_keypoints is None else options.max_keypoints
        rows = []
        for image_points in points:
            kept = np.flatnonzero(image_points[:, 2] > threshold)
            if 0 <= limit < len(kept):
                kept = kept[np.argsort(-image_points[kept, 2], kind="stable")[:limit]]
            rows.append((image_points[kept, :2], image_points[kept, 2], kept, None))
        return rows


def original(points: Points, metas: Tensor) -> Tensor:
    """Points in px of the original pictures.

    Args:
        points: of a batch.
        metas: `(B, 4)` float32: width and height of each original picture, then of what the model saw, px.

    Returns:
        `(K, 2)` float32. Rounded down they are what Transformers' `post_process_keypoint_detection` gives.
    """
    sizes = sent(metas, points.xy.device)[points.batch]
    return points.xy.float() / sizes[:, 2:] * sizes[:, :2]
