"""image-segmentation: which pixels of a picture belong to which class or object."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.eomt import keep_mask_shares
from sensorium.models.float_sampling import float32_sampling
from sensorium.models.on_device import numbers_sent
from sensorium.models.oneformer import opened_masks
from sensorium.models.segformer import FusedHead
from sensorium.processors.text import TextProcessor
from sensorium.results import Segments
from sensorium.tasks.base import Batch, Call, Models, Unit
from sensorium.tasks.heads import Composite
from sensorium.tasks.heads.segmentation import SegmentationHead
from sensorium.tasks.loading import (
    TIPSV2_HEADS,
    both_of,
    load_both,
    load_processor,
    load_transformers,
    processor_of,
)
from sensorium.tasks.media.images import is_unpadded
from sensorium.tasks.options import Share
from sensorium.tasks.segmentation.families import FAMILIES, Subtask
from sensorium.tasks.segmentation.maps import class_map
from sensorium.tasks.segmentation.queries import SegmentThresholds
from sensorium.tasks.segmentation.squares import square_scores, square_units, window_classes
from sensorium.tasks.segmentation.subtask_texts import SubtaskTexts
from sensorium.tasks.slicing.segments import WindowSegments, joined_classes, joined_segments
from sensorium.tasks.slicing.sliced_image_task import SlicedImageTask
from sensorium.tasks.slicing.windows import ImageWindow, SlicedOptions


@dataclass(frozen=True)
class ImageSegmentationOptions(SlicedOptions):
    """The options of a call.

    Attributes:
        subtask: "semantic" for a class for every pixel, "instance" for objects, "panoptic" for both; None for
            "panoptic" where the model can do it, else "semantic".
        threshold: the score in [0, 1] from which a segment is given; not for "semantic".
        mask_threshold: the probability in [0, 1] from which a pixel counts as part of a segment's mask when its overlap
            is measured; for "panoptic", and DETR's "instance". For RF-DETR that from which it is part of the mask.
        overlap_mask_area_threshold: a segment is given if more than this share of its mask, in [0, 1], is not covered
            by stronger ones; for "panoptic", and DETR's "instance".
        overlapping: whether each object keeps its whole mask where objects overlap; else a later one covers earlier
            ones, as in Transformers' pipeline. For "instance" of all but DETR, without `slice_px`.
    """

    subtask: Subtask | None = None
    threshold: Share = 0.9
    mask_threshold: Share = 0.5
    overlap_mask_area_threshold: Share = 0.5
    overlapping: bool = False


_INSTANCE = ("rf_detr",)
_READING = ("oneformer",)  # told the subtask by a text
_SEMANTIC = (
    "beit", "data2vec-vision", "dpt", "mobilenet_v2", "mobilevit", "mobilevitv2", "sapiens2", "segformer", "tipsv2_dpt",
    "upernet",
)  # fmt: skip


class ImageSegmentation(SlicedImageTask):
    """Segments with labels, scores and masks, as Transformers' pipeline of the same name gives them."""

    name = "image-segmentation"
    summary = "which pixels of a picture belong to which class or object"
    options = ImageSegmentationOptions
    models = (
        Models("AutoModelForSemanticSegmentation", only=_SEMANTIC, holding=TIPSV2_HEADS),
        Models("AutoModelForUniversalSegmentation", only=[kind for kind in FAMILIES if kind not in _INSTANCE]),
        Models("AutoModelForInstanceSegmentation", only=_INSTANCE),
    )
    default = "facebook/detr-resnet-50-panoptic@d53b52a"
    head = SegmentationHead

    def __init__(
        self, model: nn.Module, processor: Any, text_processor: TextProcessor | None = None, *, fuse: bool = False
    ) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        composite = isinstance(model, Composite)
        family = None if composite else FAMILIES.get(config.model_type)
        self._family = None if family is None else family(config, processor)
        self._texts = None if text_processor is None else SubtaskTexts(text_processor, config.task_seq_len)
        self._deforms = self._family is not None and self._family.deforms
        names = config["id2label"] if composite else config.id2label
        self._labels = {int(number): str(label) for number, label in names.items()}
        self._takes = set(inspect.signature(model.forward).parameters)
        self._unpadded = is_unpadded(processor)
        keep_mask_shares(model)
        self._fused: FusedHead | None = None
        self._fuse = fuse and FusedHead.fits(model)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model with its segmentation head, or a composite."""
        if checkpoint.kind == "composite":
            return cls(Composite.from_pretrained(checkpoint), load_processor(processor, checkpoint))
        import transformers

        autos = (models.auto for models in cls.models if checkpoint.model_type in models.classes())
        reads = checkpoint.model_type in _READING
        processors = load_both(processor, checkpoint) if reads else (load_processor(processor, checkpoint),)
        auto_class = getattr(transformers, next(autos, "AutoModelForSemanticSegmentation"))
        whole = checkpoint.options.device_map is None and checkpoint.options.quantization_config is None
        return cls(load_transformers(auto_class, checkpoint), *processors, fuse=whole)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its segmentation head, or a composite."""
        reads = getattr(model.config, "model_type", "") in _READING
        return cls(model, *(both_of(model, processor) if reads else (processor_of(model, processor),)))

    def split(self, raw: Any, options: Any) -> Iterator[Unit]:
        """A unit for each window of the picture, or for each of its squares."""
        units = super().split(raw, options)
        squares = self._family is not None and self._family.squares
        return square_units(units, self.processor) if squares else units

    def check(self, options: ImageSegmentationOptions) -> None:
        """Refuses a subtask that the model cannot do, and what would have no effect on it."""
        model, subtask = type(self.model).__name__, self._subtask(options)
        known = ("semantic",) if self._family is None else self._family.subtasks
        if subtask not in known:
            listed = " or ".join(f'"{each}"' for each in sorted(known))
            raise OptionError(f"{model} does subtask={listed} only, got {subtask!r}")
        used = {"subtask", *(field.name for field in fields(SlicedOptions))}
        used |= frozenset() if self._family is None else self._family.used(subtask)
        for field in fields(options):
            if field.name not in used and getattr(options, field.name) != field.default:
                raise OptionError(f"{field.name} has no effect on {subtask} segmentation with {model}; leave it out")
        if options.overlapping and options.slice_px is not None:
            raise OptionError(
                "overlapping=True keeps a mask of the whole picture for each object, for which there is no room; "
                "leave out slice_px or overlapping"
            )

    def forward(self, batch: Batch, options: ImageSegmentationOptions, call: Call) -> Any:
        """Runs `compute` in one call, with the head's layers fused where that gives the same."""
        if self._fuse:
            there = self.runtime.device, self.runtime.dtype
            if self._fused is None or (self._fused.weight.device, self._fused.weight.dtype) != there:
                with torch.inference_mode(False):
                    self._fused = FusedHead(self.model).to(*there)
        if self._texts is None:
            return call(self.compute, batch)
        return call(self.compute, batch, self._texts.tokens(self._subtask(options), self.runtime.device))

    def compute(self, batch: Batch, tokens: Tensor | None = None) -> dict[str, Tensor]:
        """`logits`, `(B, C, h, w)`; or `classes`, `(B, Q, C + 1)`, and `masks`, `(B, Q, h, w)`, logits, too."""
        inputs = self.processor.finish(batch, dtype=self.dtype)
        inputs = {name: value for name, value in inputs.items() if name in self._takes}
        if tokens is not None:
            inputs["task_inputs"] = tokens.expand(len(inputs["pixel_values"]), -1)
        if self._fused is not None:
            return {"logits": self._fused(self.model, inputs["pixel_values"])}
        device = inputs["pixel_values"].device
        numbers = numbers_sent(device) if self._deforms else nullcontext()
        opened = nullcontext() if tokens is None else opened_masks(device)
        with float32_sampling(self.dtype), numbers, opened, unread_masks(device, full=self._unpadded):
            output = self.model(**inputs)
        if self._family is None:
            return {"logits": output.logits if hasattr(output, "logits") else output.segmentation_logits}
        return self._family.logits(output)

    def decode(self, outputs: Any, metas: Sequence[Any], options: ImageSegmentationOptions) -> Sequence[Any]:
        """The segments of each window of a picture."""
        subtask = self._subtask(options)
        if self._family is None:
            rows = zip(outputs["logits"], _sizes(metas), strict=True)
            return _within_cells([class_map(*row) for row in rows], metas)
        classes, masks = outputs["classes"].float(), outputs["masks"].float()
        if self._family.squares:
            return square_scores(classes, masks, metas)
        sizes = _sizes(metas)
        if subtask == "semantic":
            return _within_cells(self._family.class_maps(classes, masks, sizes), metas)
        at_least = SegmentThresholds(options.threshold, options.mask_threshold, options.overlap_mask_area_threshold)
        results = self._family.segments(classes, masks, sizes, subtask, at_least, overlapping=options.overlapping)
        found, valid = _down([each.segmentation for each in results]), _down([each.valid for each in results])
        return [
            WindowSegments(window, item, held.nonzero()[0] + 1, one.ids.numpy()[held], one.scores.numpy()[held])
            for window, item, held, one in zip(metas, found, valid, results, strict=True)
        ]

    def merge(self, parts: Sequence[Any], options: ImageSegmentationOptions, index: int) -> Segments:
        """The one picture's segments."""
        if self._family is not None and self._family.squares:
            parts = window_classes(parts)
        if parts[0].ids is None:
            segmentation = joined_classes(parts)
            classes = np.bincount(segmentation.ravel(), minlength=1).nonzero()[0]
            return Segments(segmentation, classes, self._names(classes), index=index)
        _, segmentation, values, ids, scores = joined_segments(parts)
        if options.overlapping:
            masks = segmentation[np.asarray(values) - 1]
            return Segments.from_masks(masks, self._names(ids), scores, ids, index=index)
        return Segments(segmentation, values, self._names(ids), scores, ids, index=index)

    def _names(self, ids: Any) -> list[str]:
        return [self._labels.get(number, f"LABEL_{number}") for number in ids.tolist()]

    def _subtask(self, options: ImageSegmentationOptions) -> Subtask:
        return options.subtask or ("semantic" if self._family is None else self._family.subtasks[0])


def _sizes(windows: Sequence[ImageWindow]) -> list[tuple[int, int]]:
    return [window.size for window in windows]


def _within_cells(maps: list[Tensor], windows: Sequence[ImageWindow]) -> list[WindowSegments]:
    """The classes of each window's cell, from those of the window."""
    own = [each[window.cell.within(window.area)].contiguous() for each, window in zip(maps, windows, strict=True)]
    return [WindowSegments(window, item) for window, item in zip(windows, _down(own), strict=True)]


def _down(tensors: list[Tensor]) -> list[Any]:
    """Tensors of several shapes from the device to NumPy arrays, in one copy."""
    if not tensors or tensors[0].device.type == "cpu":
        return [tensor.numpy() for tensor in tensors]
    parts = torch.cat([tensor.flatten() for tensor in tensors]).cpu().split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape).numpy() for part, tensor in zip(parts, tensors, strict=True)]
