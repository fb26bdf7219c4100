"""zero-shot-object-detection: where a picture shows what the labels of the call name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import OptionError
from sensorium.models.on_device import brought, sent
from sensorium.processors.image import ImageProcessor
from sensorium.processors.text import TextProcessor
from sensorium.results import Detections
from sensorium.tasks.base import Batch, Call, Models
from sensorium.tasks.grounding.dino import GroundingDino
from sensorium.tasks.grounding.owl import Owl
from sensorium.tasks.loading import both_of, load_both, load_transformers
from sensorium.tasks.options import Range, Share
from sensorium.tasks.slicing.boxes import WindowBoxes, best_of, joined
from sensorium.tasks.slicing.sliced_image_task import SlicedImageTask
from sensorium.tasks.slicing.windows import SlicedOptions
from sensorium.tasks.texts.label_names import checked_labels

FAMILIES: dict[str, type[GroundingDino | Owl]] = {
    "grounding-dino": GroundingDino,
    "mm-grounding-dino": GroundingDino,
    "owlv2": Owl,
    "owlvit": Owl,
}
"""How the models of each type are run."""


@dataclass(frozen=True)
class ZeroShotObjectDetectionOptions(SlicedOptions):
    """The options of a call.

    Attributes:
        candidate_labels: what to look for; at least one.
        threshold: the score in [0, 1] above which an object is given.
        top_k: how many objects to give at most, those with the best scores; None for all above the threshold.
    """

    candidate_labels: tuple[str, ...] = ()
    threshold: Share = 0.1
    top_k: Annotated[int | None, Range(1, none="all objects")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "candidate_labels", checked_labels(self.candidate_labels))


class ZeroShotObjectDetection(SlicedImageTask):
    """Boxes of labels of your own, as Transformers' pipeline of the same name gives them."""

    name = "zero-shot-object-detection"
    summary = "where a picture shows what the labels of the call name"
    options = ZeroShotObjectDetectionOptions
    models = (Models("AutoModelForZeroShotObjectDetection", only=FAMILIES),)
    default = "google/owlvit-base-patch32@cbc355f"

    def __init__(self, model: nn.Module, processor: ImageProcessor, text_processor: TextProcessor) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        self.text_processor = text_processor
        self._finder = FAMILIES[config.model_type](model, text_processor)
        self._square = _makes_squares(processor)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model with its image processor and tokenizer."""
        from transformers import AutoModelForZeroShotObjectDetection

        both = load_both(processor, checkpoint)
        return cls(load_transformers(AutoModelForZeroShotObjectDetection, checkpoint), *both)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its processor, which has an image processor and a tokenizer."""
        return cls(model, *both_of(model, processor))

    def check(self, options: ZeroShotObjectDetectionOptions) -> None:
        """Refuses a call without labels, or with labels that the model cannot read."""
        if not options.candidate_labels:
            raise OptionError(f'{self.name} needs labels to look for: candidate_labels=["cat", "dog"]')
        self._finder.check(options.candidate_labels)

    def forward(self, batch: Batch, options: ZeroShotObjectDetectionOptions, call: Call) -> dict[str, Tensor]:
        """`BoxScores`, as a dict; labels' texts are encoded once."""
        found = self._finder.found(
            lambda *texts: call(self.compute, batch, *texts), options.candidate_labels, self.runtime.device
        )
        return found._asdict()

    def compute(self, batch: Batch, *texts: Batch) -> dict[str, Tensor]:
        """Runs the model on pictures, and on a text where it reads both together; this is what is compiled."""
        return self._finder.compute(self.processor.finish(batch, dtype=self.dtype), *texts)

    def decode(
        self, outputs: Any, metas: Sequence[Any], options: ZeroShotObjectDetectionOptions
    ) -> Sequence[WindowBoxes]:
        """All pairs of a box and a label above the threshold, picture by picture, best first."""
        scores = outputs["logits"][: len(metas)].sigmoid()
        found = (scores > options.threshold).nonzero()  # sorted by picture, label and box
        centre, half = outputs["boxes"].split(2, dim=-1)
        boxes = torch.cat([centre - 0.5 * half, centre + 0.5 * half], dim=-1)
        sizes = [window.size for window in metas]
        sides = [(max(size),) * 4 if self._square else (size[1], size[0]) * 2 for size in sizes]
        boxes = boxes[: len(metas)] * sent(sides, boxes.device, torch.float32)[:, None, None]
        images, texts, labels, places = found.unbind(1)
        flat = [found, scores[images, texts, labels, places], boxes[images, texts, places]]
        where, best, xyxy = (tensor.numpy() for tensor in brought(flat))
        ids = np.array(self._finder.firsts(options.candidate_labels))[where[:, 1]] + where[:, 2]
        parts, ends = [], itertools.pairwise(np.searchsorted(where[:, 0], np.arange(len(metas) + 1)))
        for window, (start, end) in zip(metas, ends, strict=True):
            order = start + np.argsort(-best[start:end], kind="stable")
            parts.append(WindowBoxes(window, xyxy[order], best[order], ids[order]))
        return parts

    def merge(self, parts: Sequence[WindowBoxes], options: ZeroShotObjectDetectionOptions, index: int) -> Detections:
        """The one picture's objects; `ids` are the labels' places in `candidate_labels`."""
        found = best_of(joined(parts), options.top_k)
        names = [options.candidate_labels[number] for number in found.ids.tolist()]
        size = found.window.image_size
        return Detections(found.xyxy, found.scores, names, found.ids, size=size, index=index)


def _makes_squares(processor: ImageProcessor) -> bool:
    """Whether pictures are padded to squares, of which boxes are shares then."""
    told = processor.to_dict()
    return str(told.get("image_processor_type", "")).startswith("Owlv2") and bool(told.get("do_pad", True))
