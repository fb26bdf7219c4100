"""zero-shot-object-detection: where a picture shows what the labels of the call name, or what its pictures show."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import InputError, OptionError
from sensorium.models.on_device import brought, sent
from sensorium.processors.image import ImageProcessor
from sensorium.processors.text import TextProcessor
from sensorium.results import Detections
from sensorium.tasks.base import Batch, Call, Models, Unit
from sensorium.tasks.grounding.box_scores import BoxScores
from sensorium.tasks.grounding.dino import GroundingDino
from sensorium.tasks.grounding.finder import Finder
from sensorium.tasks.grounding.omdet import OmDetTurbo
from sensorium.tasks.grounding.owl import Owl
from sensorium.tasks.grounding.queries import Queries, queries_of, read_queries
from sensorium.tasks.grounding.suppression import shares_of_best, suppressed
from sensorium.tasks.loading import both_of, load_both, load_transformers
from sensorium.tasks.options import Range, Share
from sensorium.tasks.slicing.boxes import WindowBoxes, best_of, joined
from sensorium.tasks.slicing.sliced_image_task import SlicedImageTask
from sensorium.tasks.slicing.windows import ImageWindow, SlicedOptions

FAMILIES: dict[str, Callable[[Any, TextProcessor], Finder]] = {
    "grounding-dino": GroundingDino,
    "mm-grounding-dino": GroundingDino,
    "omdet-turbo": OmDetTurbo,
    "owlv2": Owl,
    "owlvit": Owl,
}
"""How the models of each type are run."""

QUERIES = "queries"
"""The tensor of a batch that tells, on the CPU, what each picture is searched for."""


@dataclass(frozen=True)
class ZeroShotObjectDetectionOptions(SlicedOptions):
    """The options of a call.

    Attributes:
        candidate_labels: what to look for, at least one label; None where each picture brings its own.
        query_images: pictures of what to look for, one or several, instead of labels; for OWL-ViT and OWLv2.
        threshold: the score in [0, 1] above which an object is given.
        nms_threshold: of two boxes that overlap by a higher IoU, in [0, 1], only the better one is given; for
            query_images and OmDet-Turbo. None for what Transformers has: 0.3 for query_images, 0.5 for OmDet-Turbo.
        top_k: how many objects to give at most, those with the best scores; None for all above the threshold.
    """

    candidate_labels: tuple[str, ...] | None = None
    query_images: tuple[str | Any, ...] | None = None
    threshold: Share = 0.1
    nms_threshold: Annotated[float | None, Range(0, 1, none="the one of Transformers")] = None
    top_k: Annotated[int | None, Range(1, none="all objects")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        queries = self.queries
        object.__setattr__(self, "candidate_labels", queries.labels if queries and queries.labels else None)
        object.__setattr__(self, "query_images", queries.images if queries and queries.images else None)

    @functools.cached_property
    def queries(self) -> Queries | None:
        """What is looked for in pictures that bring nothing of their own."""
        return read_queries(self.candidate_labels, self.query_images)


class SearchedWindow(NamedTuple):
    """A window of a picture, and what it is searched for."""

    window: ImageWindow
    queries: Queries


class WindowFinds(NamedTuple):
    """What was found in a window.

    Attributes:
        boxes: the boxes.
        names: what the picture was searched for.
        relative: whether scores are to be told beside the best one of each name.
    """

    boxes: WindowBoxes
    names: tuple[str, ...]
    relative: bool


class ZeroShotObjectDetection(SlicedImageTask):
    """Boxes of labels of your own, as Transformers' pipeline of the same name gives them."""

    name = "zero-shot-object-detection"
    summary = "where a picture shows what the labels of the call name"
    options = ZeroShotObjectDetectionOptions
    own_options = ("candidate_labels", "query_images")
    models = (Models("AutoModelForZeroShotObjectDetection", only=FAMILIES),)
    default = "google/owlvit-base-patch32@cbc355f"

    def __init__(self, model: nn.Module, processor: ImageProcessor, text_processor: TextProcessor) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        self.text_processor = text_processor
        self._finder = FAMILIES[config.model_type](model, text_processor)
        self._square = _makes_squares(processor)
        self.on_host = frozenset([QUERIES])

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
        """Refuses labels and pictures that the model cannot read; fits those pictures."""
        if options.queries is not None:
            self._check(options.queries, options)
        elif options.nms_threshold is not None:
            self._check_suppression(None, options)

    def split(self, raw: Any, options: ZeroShotObjectDetectionOptions) -> Iterator[Unit]:
        """Decodes the picture and fits its windows, as they are asked for; `meta` is a `SearchedWindow`."""
        named = raw if isinstance(raw, Mapping) else {"image": raw}
        queries = self._own(named, options)
        for unit in super().split(named["image"], options):
            yield Unit({**unit.inputs, QUERIES: torch.tensor(queries.number)}, SearchedWindow(unit.meta, queries))

    def bucket(self, unit: Unit) -> Hashable:
        """Pictures that are searched for other things share batches, but not with those that cost more."""
        return super().bucket(unit), self.cost(unit)

    def cost(self, unit: Unit) -> float:
        """More for very many labels, where the model's work grows with them."""
        return self._finder.cost(unit.meta.queries)

    def forward(self, batch: Batch, options: ZeroShotObjectDetectionOptions, call: Call) -> Batch:
        """What the finder's `scores` makes scores of; labels' texts, and pictures of things, are encoded once."""
        images = {name: tensor for name, tensor in batch.items() if name != QUERIES}
        finish = functools.partial(self.processor.finish, dtype=self.dtype)
        return self._finder.found(
            lambda *texts: call(self.compute, images, *texts), queries_of(batch[QUERIES]), self.runtime.device, finish
        )

    def compute(self, batch: Batch, *texts: Batch) -> dict[str, Tensor]:
        """Runs the model on pictures, and on a text where it reads both together; this is what is compiled."""
        return self._finder.compute(self.processor.finish(batch, dtype=self.dtype), *texts)

    def decode(
        self, outputs: Any, metas: Sequence[SearchedWindow], options: ZeroShotObjectDetectionOptions
    ) -> Sequence[WindowFinds]:
        """All pairs of a box and a label above the threshold, picture by picture, best first."""
        wanted = [meta.queries for meta in metas]
        outputs = {name: tensor[: len(metas)] for name, tensor in outputs.items()}
        sizes = [meta.window.size for meta in metas]
        sides = np.array([(max(size),) * 4 if self._square else (size[1], size[0]) * 2 for size in sizes], np.float32)
        found = [self._above(scores, sides, options.threshold) for scores in self._finder.scores(outputs, wanted)]
        where, ids, best, xyxy = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.lexsort((-best, where))
        ends = itertools.pairwise(np.searchsorted(where[order], np.arange(len(metas) + 1)))
        parts = []
        for meta, (start, end) in zip(metas, ends, strict=True):
            own = order[start:end]
            boxes = WindowBoxes(meta.window, xyxy[own], best[own], ids[own])
            parts.append(self._part(boxes, meta.queries, options))
        return parts

    def merge(self, parts: Sequence[WindowFinds], options: ZeroShotObjectDetectionOptions, index: int) -> Detections:
        """The one picture's objects; `ids` are the labels' places in `candidate_labels`, or those of query_images."""
        names, found = parts[0].names, joined([part.boxes for part in parts])
        if parts[0].relative:
            scores = shares_of_best(found.scores, found.ids)
            order = np.argsort(-scores, kind="stable")
            order = order[scores[order] > 0]
            found = WindowBoxes(found.window, found.xyxy[order], scores[order], found.ids[order])
        found = best_of(found, options.top_k)
        labels = [names[number] for number in found.ids.tolist()]
        return Detections(found.xyxy, found.scores, labels, found.ids, size=found.window.image_size, index=index)

    def _own(self, named: Mapping[str, Any], options: ZeroShotObjectDetectionOptions) -> Queries:
        """What an input is searched for: what it brings, or else what the call names."""
        try:
            own = read_queries(named.get("candidate_labels"), named.get("query_images"))
            if own is not None:
                self._check(own, options)
        except OptionError as error:
            raise InputError(f"the picture's own queries: {error}", code="bad-queries") from error
        queries = options.queries if own is None else own
        if queries is None:
            raise InputError(
                f'{self.name} needs labels to look for: candidate_labels=["cat", "dog"] for all pictures of a call, or '
                'for one of them {"image": …, "candidate_labels": ["cat", "dog"]}',
                code="no-labels",
            )
        return queries

    def _check(self, queries: Queries, options: ZeroShotObjectDetectionOptions) -> None:
        if queries.images and not self._finder.takes_images:
            raise OptionError(
                f"{type(self.model).__name__} takes no query_images, as OWL-ViT and OWLv2 do; pass candidate_labels"
            )
        self._check_suppression(queries, options)
        self._finder.check(queries.labels)
        for number, image in enumerate(queries.images):
            try:
                image.fit(self.processor, self.limits)
            except InputError as error:
                raise OptionError(f"the picture at {number} in query_images: {error.message}") from error

    def _check_suppression(self, queries: Queries | None, options: ZeroShotObjectDetectionOptions) -> None:
        suppresses = self._finder.takes_images if queries is None else self._finder.suppression(queries) is not None
        if options.nms_threshold is not None and not suppresses:
            raise OptionError("nms_threshold is for query_images and for OmDet-Turbo; leave it out")

    def _above(
        self, scored: BoxScores, sides: NDArray[np.float32], threshold: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """The pairs above the threshold: numbers of pictures and labels, scores, and boxes xyxy in px of the window."""
        scores = scored.logits.sigmoid()
        found = (scores > threshold).nonzero()  # sorted by picture, label and box
        centre, half = scored.boxes.split(2, dim=-1)
        boxes = torch.cat([centre - 0.5 * half, centre + 0.5 * half], dim=-1)
        boxes = boxes * sent(torch.from_numpy(sides), boxes.device)[:, None, None]
        images, texts, labels, places = found.unbind(1)
        flat = [found, scores[images, texts, labels, places], boxes[images, texts, places]]
        where, best, xyxy = (tensor.numpy() for tensor in brought(flat))
        return where[:, 0], np.array(scored.firsts)[where[:, 0], where[:, 1]] + where[:, 2], best, xyxy

    def _part(self, found: WindowBoxes, queries: Queries, options: ZeroShotObjectDetectionOptions) -> WindowFinds:
        """What stays of the boxes of a window, best first."""
        if self._finder.most is not None:
            found = best_of(found, self._finder.most)
        iou = self._finder.suppression(queries)
        if iou is not None:
            iou = iou if options.nms_threshold is None else options.nms_threshold
            stay = suppressed(found.xyxy, found.ids, iou)
            found = WindowBoxes(found.window, found.xyxy[stay], found.scores[stay], found.ids[stay])
        if self._finder.clips:
            height, width = found.window.size
            found = found._replace(xyxy=found.xyxy.clip(0, np.array([width, height] * 2, np.float32)))
        return WindowFinds(found, queries.names, bool(queries.images))


def _makes_squares(processor: ImageProcessor) -> bool:
    """Whether pictures are padded to squares, of which boxes are shares then."""
    told = processor.to_dict()
    return str(told.get("image_processor_type", "")).startswith("Owlv2") and bool(told.get("do_pad", True))
