"""How families of models with queries, each with classes and a mask, give their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from sensorium.errors import CheckpointError
from sensorium.processors.image import ImageProcessor
from sensorium.tasks.segmentation.late_queries import ObjectRule, by_pair, by_query, late_instances, late_panoptic
from sensorium.tasks.segmentation.maps import class_map
from sensorium.tasks.segmentation.queries import (
    FoundSegments,
    SegmentThresholds,
    at_grid,
    instances,
    panoptic,
    semantic_logits,
    shrunk,
)

Subtask = Literal["semantic", "instance", "panoptic"]
Size = tuple[int, int]

_OF_PANOPTIC = frozenset({"threshold", "mask_threshold", "overlap_mask_area_threshold"})


class QueryFamily:
    """DETR, MaskFormer and Mask2Former.

    Args:
        classes: the name of the class logits among the model's outputs.
        masks: the name of the mask logits.
        grid: the size to which the reference brings mask logits first, px; None for their own.
        objects: whether "instance" has a rule of its own; else it is that of "panoptic".
        deforms: see the attribute.
        antialias: whether maps are antialiased where a picture is smaller than they are.

    Attributes:
        subtasks: what the model does; the first where none is asked for.
        squares: whether pictures are seen square by square.
        deforms: whether its attention samples maps at places of its own.
    """

    subtasks: tuple[Subtask, ...] = ("panoptic", "instance", "semantic")
    squares = False

    def __init__(
        self,
        classes: str = "class_queries_logits",
        masks: str = "masks_queries_logits",
        *,
        grid: Size | None = None,
        objects: bool = True,
        deforms: bool = False,
        antialias: bool = False,
    ) -> None:
        self._classes, self._masks = classes, masks
        self._grid, self._objects, self._antialias, self.deforms = grid, objects, antialias, deforms

    def used(self, subtask: Subtask) -> frozenset[str]:
        """The options that have an effect on a subtask, besides that itself and those of windows."""
        if subtask == "instance" and self._objects:
            return frozenset({"threshold", "overlapping"})
        return frozenset() if subtask == "semantic" else _OF_PANOPTIC

    def logits(self, output: Any) -> dict[str, Tensor]:
        """`classes`, `(B, Q, C + 1)`, and `masks`, `(B, Q, h, w)`, of a model's output."""
        return {"classes": output[self._classes], "masks": output[self._masks]}

    def class_maps(self, classes: Tensor, masks: Tensor, sizes: list[Size]) -> list[Tensor]:
        """The class of each px of pictures of these sizes, on the device."""
        rows = zip(classes, masks, sizes, strict=True)
        scores = ((semantic_logits(c, m, self._grid), size) for c, m, size in rows)
        return [class_map(shrunk(each, size) if self._antialias else each, size) for each, size in scores]

    def segments(
        self,
        classes: Tensor,
        masks: Tensor,
        sizes: list[Size],
        subtask: Subtask,
        at_least: SegmentThresholds,
        *,
        overlapping: bool,
    ) -> list[FoundSegments]:
        """The objects or segments of pictures of these sizes."""
        if subtask == "instance" and self._objects:
            return instances(classes, masks, sizes, at_least, self._grid, overlapping=overlapping)
        return panoptic(classes, masks, sizes, at_least, self._grid, antialias=self._antialias)


class EomtFamily(QueryFamily):
    """EoMT, which sees a square: masks are looked at in the picture's own size, without the padding of its square.

    Args:
        config: the model's.
        processor: the checkpoint's; whether it cuts pictures or pads them says what the model was trained for.

    Raises:
        CheckpointError: the processor's recipe is not known.
    """

    def __init__(self, config: Any, processor: ImageProcessor) -> None:
        side = config.image_size
        super().__init__(grid=(side, side) if isinstance(side, int) else (side[0], side[1]))
        if processor.recipe is None:
            raise CheckpointError(
                "masks of EoMT are brought back to the picture through the processor's recipe, which is not read, "
                f"got {processor!r:.200}. Pass processor= with EoMT's own settings."
            )
        self._recipe = processor.recipe
        self.squares = processor.recipe.squares
        if self.squares:
            self.subtasks = ("semantic",)

    def class_maps(self, classes: Tensor, masks: Tensor, sizes: list[Size]) -> list[Tensor]:
        """The class of each px of pictures of these sizes, on the device."""
        rows = zip(classes, masks, sizes, strict=True)
        scores = ((semantic_logits(c, m, self._grid), size) for c, m, size in rows)
        return [class_map(self._unpadded(each, size), size) for each, size in scores]

    def segments(
        self,
        classes: Tensor,
        masks: Tensor,
        sizes: list[Size],
        subtask: Subtask,
        at_least: SegmentThresholds,
        *,
        overlapping: bool,
    ) -> list[FoundSegments]:
        """The objects or segments of pictures of these sizes."""
        if subtask == "panoptic":
            return late_panoptic(classes, masks, sizes, at_least, self._brought)
        rule, found = ObjectRule(weighted=True, ranked=False), by_query(classes)
        return late_instances(found, masks, sizes, at_least, rule, bring=self._brought, overlapping=overlapping)

    def _brought(self, masks: Tensor, size: Size) -> Tensor:
        return self._unpadded(at_grid(masks, self._grid), size)

    def _unpadded(self, maps: Tensor, size: Size) -> Tensor:
        height, width = self._recipe.unpadded(*size) or maps.shape[1:]
        return maps[:, :height, :width]


class RfDetrFamily(QueryFamily):
    """RF-DETR: pairs of box and class are objects, each with its box's mask; a stronger one covers a weaker one."""

    subtasks = ("instance",)

    def __init__(self, *_: Any) -> None:
        super().__init__("logits", "pred_masks", deforms=True)

    def used(self, subtask: Subtask) -> frozenset[str]:
        """The options that have an effect on a subtask, besides that itself and those of windows."""
        return frozenset({"threshold", "mask_threshold", "overlapping"})

    def segments(
        self,
        classes: Tensor,
        masks: Tensor,
        sizes: list[Size],
        subtask: Subtask,
        at_least: SegmentThresholds,
        *,
        overlapping: bool,
    ) -> list[FoundSegments]:
        """The objects of pictures of these sizes."""
        rule = ObjectRule(weighted=False, ranked=True)
        pairs = by_pair(classes.sigmoid())
        return late_instances(pairs, masks, sizes, at_least, rule, overlapping=overlapping)


class OneFormerFamily(QueryFamily):
    """OneFormer: objects are pairs of query and class, by its authors' rule; a stronger one covers a weaker one."""

    def __init__(self, *_: Any) -> None:
        super().__init__(deforms=True, antialias=True)

    def segments(
        self,
        classes: Tensor,
        masks: Tensor,
        sizes: list[Size],
        subtask: Subtask,
        at_least: SegmentThresholds,
        *,
        overlapping: bool,
    ) -> list[FoundSegments]:
        """The objects or segments of pictures of these sizes."""
        if subtask != "instance":
            return super().segments(classes, masks, sizes, subtask, at_least, overlapping=overlapping)
        rule = ObjectRule(weighted=True, ranked=True)
        pairs = by_pair(classes.softmax(-1)[..., :-1])
        return late_instances(pairs, masks, sizes, at_least, rule, overlapping=overlapping)


FAMILIES: dict[str, Callable[[Any, ImageProcessor], QueryFamily]] = {
    "detr": lambda *_: QueryFamily("logits", "pred_masks", objects=False),
    "eomt": EomtFamily,
    "eomt_dinov3": EomtFamily,
    "maskformer": lambda *_: QueryFamily(),
    "mask2former": lambda *_: QueryFamily(grid=(384, 384), deforms=True),
    "oneformer": OneFormerFamily,
    "rf_detr": RfDetrFamily,
}
"""What makes the family of a model, of its config and its processor, by model type."""
