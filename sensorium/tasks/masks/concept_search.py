"""All that a batch of pictures is asked for by texts and exemplars, in batches across pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.models.on_device import brought, sent
from sensorium.models.sam.concepts import ConceptDecoder, ConceptOutputs, Exemplars
from sensorium.processors.text import TextProcessor
from sensorium.tasks.masks.asking import ROOM
from sensorium.tasks.masks.concept_texts import ConceptTexts
from sensorium.tasks.masks.concepts import Concept
from sensorium.tasks.masks.filtering import Enlarger, Frame, measure
from sensorium.tasks.masks.mask_batch import MaskBatch, join
from sensorium.tasks.texts.lengths import checked_processor, most_positions

TOGETHER = {"cpu": 1, "cuda": 16}
"""Pairs of a picture and a concept at a time where nothing else is told."""

EDGE = 1e-6
"""How near to 0 and 1 a share is told apart from them; logits of 13.8."""


class ConceptOptions(Protocol):
    """The options that say what is found."""

    @property
    def threshold(self) -> float: ...  # noqa: D102 - named as the option
    @property
    def texts_per_batch(self) -> int | None: ...  # noqa: D102
    @property
    def mask_threshold(self) -> float: ...  # noqa: D102
    @property
    def stability_score_offset(self) -> float: ...  # noqa: D102
    @property
    def stability_score_thresh(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class ImageConcepts:
    """What one picture of a batch is asked for.

    Attributes:
        row: the picture's place in the batch.
        frame: the picture, whole.
        concepts: at least one.
    """

    row: int
    frame: Frame
    concepts: Sequence[Concept]


@dataclass(frozen=True)
class Instances:
    """What was found on a picture, on the CPU, concept by concept and best first.

    Attributes:
        masks: N, whose objects are the places of their concepts; None for none.
        boxes: `(N, 4)` float32 xyxy px, as the model itself gives them.
    """

    masks: MaskBatch | None
    boxes: NDArray[np.float32]


@dataclass(frozen=True)
class _Hit:
    """A pair that found something.

    Attributes:
        pair: its place among those that were run together.
        image: its picture's place among those that are asked for something.
        number: its concept's place among the picture's.
        queries: `(K,)` int64, which queries found something, the best first.
        scores: `(K,)` float32.
        boxes: `(K, 4)` float32 xyxy px.
    """

    pair: int
    image: int
    number: int
    queries: NDArray[np.int64]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]


class ShareEnlarger(Enlarger):
    """Brings logits to a picture's size as SAM 3 has it: what is interpolated is shares in [0, 1], not logits."""

    def __call__(self, masks: Tensor) -> Tensor:
        """`(K, s, s)` float32 logits as `(K, width, height)`, of up to 13.8."""
        return super().__call__(masks.sigmoid()).logit_(EDGE)


class ConceptSearch:
    """Looks on encoded pictures for what texts and exemplars name.

    Args:
        model: Transformers' Sam3Model.
        processor: its tokenizer.
    """

    def __init__(self, model: Any, processor: TextProcessor) -> None:
        self._decoder = ConceptDecoder(model)
        reader = model.text_encoder
        limits = (processor.max_length, most_positions(reader))
        length = min(limit for limit in limits if limit is not None)
        self._texts = ConceptTexts(self._decoder, checked_processor(processor, reader), length)

    @property
    def input_size(self) -> int:
        """Px of the square that the model sees."""
        return self._decoder.input_size

    def check(self, concepts: Sequence[Concept]) -> None:
        """Refuses texts that the model cannot read; safe in several threads.

        Raises:
            InputError: such a text.
        """
        for concept in concepts:
            self._texts.check(concept.text)

    def search(
        self, maps: Sequence[Tensor], asked: Sequence[ImageConcepts], options: ConceptOptions, free_bytes: int | None
    ) -> list[Instances]:
        """What is found on each picture.

        Args:
            maps: `(B, C, h, w)` each, of the batch's pictures, finest first.
            asked: of the pictures that are asked for something.
            options: of the call.
            free_bytes: of the device; None where it does not tell.
        """
        found: list[list[MaskBatch]] = [[] for _ in asked]
        boxes: list[list[NDArray[np.float32]]] = [[] for _ in asked]
        coarse = maps[-1].index_select(0, sent([image.row for image in asked], maps[-1].device))
        prepared = self._decoder.prepare(coarse)
        for pairs in _chunks(asked, self._at_once(maps, options.texts_per_batch, free_bytes)):
            rows = sent([asked[image].row for image, _ in pairs], maps[0].device)
            seen = self._find(coarse, prepared, pairs, asked)
            hits = _hits(seen, pairs, asked, options.threshold)
            drawn = self._draw(seen, maps, rows, hits)
            for image, own in itertools.groupby(zip(hits, drawn, strict=True), lambda row: row[0].image):
                of_image, logits = zip(*own, strict=True)
                boxes[image].extend(hit.boxes for hit in of_image)
                found[image].extend(_measured(logits, of_image, asked[image].frame, options))
        return [_in_order(masks, xyxy) for masks, xyxy in zip(found, boxes, strict=True)]

    def _find(
        self, coarse: Tensor, prepared: Tensor, pairs: Sequence[tuple[int, int]], asked: Sequence[ImageConcepts]
    ) -> ConceptOutputs:
        device = coarse.device
        concepts = [asked[image].concepts[number] for image, number in pairs]
        words, told = self._texts.features([concept.text for concept in concepts], device)
        shown = concepts[0].boxes is not None  # of all or of none
        exemplars = _exemplars(concepts, [asked[image].frame for image, _ in pairs], device) if shown else None
        rows = sent([image for image, _ in pairs], device)
        own, own_prepared = coarse.index_select(0, rows), prepared.index_select(0, rows)
        return self._decoder.find(own, own_prepared, words, told, exemplars)

    def _draw(self, found: ConceptOutputs, maps: Sequence[Tensor], rows: Tensor, hits: Sequence[_Hit]) -> list[Tensor]:
        """The logits of each pair that found something, `(K, H, W)`."""
        if not hits:
            return []
        most = max(len(hit.queries) for hit in hits)
        padded = [[*hit.queries.tolist(), *[0] * (most - len(hit.queries))] for hit in hits]
        pairs, queries = sent([hit.pair for hit in hits], rows.device), sent(padded, rows.device)
        own = [level.index_select(0, rows.index_select(0, pairs)) for level in maps]
        drawn = self._decoder.draw(found, own, pairs, queries)
        return [logits[: len(hit.queries)] for logits, hit in zip(drawn, hits, strict=True)]

    def _at_once(self, maps: Sequence[Tensor], wanted: int | None, free_bytes: int | None) -> int:
        """How many pairs at a time, at most."""
        device = maps[0].device.type
        if device == "cpu" or wanted is not None or free_bytes is None:
            return wanted or TOGETHER.get(device, TOGETHER["cpu"])
        fine, coarse = maps[0][0], maps[-1][0]
        drawn = 6 * fine.nbytes + self._decoder.queries * fine[0].numel() * 4
        looked = 16 * coarse.nbytes + 3 * 8 * self._decoder.queries * coarse[0].numel() * coarse.itemsize
        return max(1, int(ROOM * free_bytes) // (drawn + looked))


def _chunks(asked: Sequence[ImageConcepts], step: int) -> Iterator[list[tuple[int, int]]]:
    """So many pairs of a picture and a concept at a time; those with exemplars apart, whose prompts are longer."""
    pairs = [(image, number) for image, one in enumerate(asked) for number in range(len(one.concepts))]
    for shown in (False, True):
        some = [pair for pair in pairs if (asked[pair[0]].concepts[pair[1]].boxes is not None) is shown]
        for start in range(0, len(some), step):
            yield some[start : start + step]


def _exemplars(concepts: Sequence[Concept], frames: Sequence[Frame], device: torch.device) -> Exemplars:
    """Exemplars in shares of their pictures, padded to the most that a concept has."""
    most = max(len(concept.boxes) for concept in concepts if concept.boxes is not None)
    boxes = np.zeros((len(concepts), most, 4), np.float32)
    labels, given = np.zeros((len(concepts), most), np.int64), np.zeros((len(concepts), most), bool)
    for i, (concept, frame) in enumerate(zip(concepts, frames, strict=True)):
        assert concept.boxes is not None
        assert concept.labels is not None
        x0, y0, x1, y1 = (concept.boxes.astype(np.float32) / _sides(frame)).T
        count = len(concept.boxes)
        boxes[i, :count] = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], axis=1)
        labels[i, :count], given[i, :count] = concept.labels, True
    return Exemplars(*(sent(torch.from_numpy(array), device) for array in (boxes, labels, given)))


def _hits(
    found: ConceptOutputs, pairs: Sequence[tuple[int, int]], asked: Sequence[ImageConcepts], threshold: float
) -> list[_Hit]:
    """The pairs with scores above a threshold; here the host waits for the device."""
    scores, boxes = (tensor.numpy() for tensor in brought([found.scores, found.boxes]))
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = []
    for at, (image, number) in enumerate(pairs):
        queries = order[at, : (scores[at] > np.float32(threshold)).sum()]
        if len(queries):
            xyxy = boxes[at, queries] * _sides(asked[image].frame)
            hits.append(_Hit(at, image, number, queries, scores[at, queries], xyxy))
    return hits


def _sides(frame: Frame) -> NDArray[np.float32]:
    height, width = frame.image_size
    return np.array([width, height, width, height], np.float32)


def _measured(drawn: Sequence[Tensor], hits: Sequence[_Hit], frame: Frame, options: ConceptOptions) -> list[MaskBatch]:
    """The masks of one picture at its size; their objects are the numbers of their concepts."""
    scores = np.concatenate([hit.scores for hit in hits])
    objects = np.repeat([hit.number for hit in hits], [len(hit.queries) for hit in hits])
    there = [sent(torch.from_numpy(array), drawn[0].device) for array in (scores, objects)]
    return measure(
        torch.cat(list(drawn)), there[0], there[1], ShareEnlarger(frame, padded=False), options, strict=False
    )


def _in_order(masks: Sequence[MaskBatch], boxes: Sequence[NDArray[np.float32]]) -> Instances:
    if not masks:
        return Instances(None, np.zeros((0, 4), np.float32))
    joined = join(masks).download()
    order = joined.objects.argsort(stable=True)
    return Instances(joined.select(order), np.concatenate(boxes)[order.numpy()])
