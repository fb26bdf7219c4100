"""Grounding DINO and MM Grounding DINO: the model reads all labels as one text, and scores its tokens for each box."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import InputError, OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.float_sampling import float32_sampling
from sensorium.models.on_device import numbers_sent, sent
from sensorium.processors.text import Encoded, TextProcessor
from sensorium.tasks.base import Batch
from sensorium.tasks.grounding.box_scores import BoxScores, without_others
from sensorium.tasks.grounding.finder import Finder
from sensorium.tasks.grounding.queries import Queries
from sensorium.tasks.loading import check_fast
from sensorium.tasks.texts.lengths import checked_processor, within

KEPT = 256
"""Sets of labels whose tokens are kept."""

Labels = tuple[str, ...]


@dataclass
class _Text:
    """Labels in one text, `"a cat. a dog."`.

    Attributes:
        encoded: its tokens.
        spans: for each label the numbers of its tokens.
    """

    encoded: Encoded
    spans: list[list[int]]

    def places(self, most: int, longest: int) -> Tensor:
        """`(most, longest)` int64: each label's tokens, with repetitions; the first token's for what is none."""
        rows = [[*span, *span[:1] * (longest - len(span))] for span in self.spans]
        return torch.tensor([*rows, *[[0] * longest] * (most - len(rows))])


class GroundingDino(Finder):
    """Boxes of queries, and how well each label's tokens fit each of them.

    Args:
        model: Transformers' GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection.
        text_processor: its tokenizer.
    """

    clips = False
    takes_images = False
    most = None

    def __init__(self, model: Any, text_processor: TextProcessor) -> None:
        check_fast(text_processor, type(model).__name__)
        self._model = model
        self._processor = checked_processor(text_processor, self._model.model.text_backbone)
        limits = (text_processor.max_length, int(self._model.config.max_text_len))
        self._most = min(limit for limit in limits if limit is not None)
        self._kept: OrderedDict[Labels, list[_Text]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, labels: Labels) -> None:
        """Refuses labels that the model cannot read; safe in several threads."""
        self._texts(labels)

    def cost(self, queries: Queries) -> float:
        """A pass for each text."""
        return float(len(self._texts(queries.labels)))

    def suppression(self, queries: Queries) -> float | None:
        """Boxes are as the model gives them."""
        return None

    def found(
        self,
        run: Callable[..., Batch],
        wanted: Sequence[Queries],
        device: torch.device,
        finish: Callable[[Batch], Batch],
    ) -> Batch:
        """`(B, T, N, Q)` logits and `(B, T, Q, 4)` boxes: a pass for each text; most sets of labels make one."""
        texts = [self._texts(queries.labels) for queries in (wanted[:1] if len(set(wanted)) == 1 else wanted)]
        most = max(len(text.spans) for each in texts for text in each)
        logits, boxes = [], []
        for number in range(max(map(len, texts))):
            rows = [each[min(number, len(each) - 1)] for each in texts]  # one that has no more reads its last again
            output = run({name: sent(tensor, device) for name, tensor in self._stacked(rows).items()})
            longest = max(len(span) for text in rows for span in text.spans)
            places = sent(torch.stack([text.places(most, longest) for text in rows]), device)
            by_token = output["logits"].float().transpose(1, 2)
            images = torch.arange(len(by_token), device=device)[:, None, None]
            counts = [len(row.spans) if number < len(each) else 0 for row, each in zip(rows, texts, strict=True)]
            scores = by_token[images, places].amax(2)
            logits.append(without_others(scores, counts if len(rows) == len(scores) else counts * len(scores)))
            boxes.append(output["boxes"].float())
        return {"logits": torch.stack(logits, dim=1), "boxes": torch.stack(boxes, dim=1)}

    def scores(self, outputs: Batch, wanted: Sequence[Queries]) -> Iterator[BoxScores]:
        """All at once: there are as many logits as labels and queries of the model."""
        firsts = []
        for queries in wanted:
            counts = [len(text.spans) for text in self._texts(queries.labels)]
            firsts.append([sum(counts[:at]) for at in range(outputs["logits"].shape[1])])
        yield BoxScores(outputs["logits"], outputs["boxes"], firsts)

    def compute(self, inputs: Batch, *texts: Batch) -> Batch:
        """`logits` `(B, Q, tokens)` and `boxes` `(B, Q, 4)` cxcywh, shares; tokens are `(B, L)`, for all `(1, L)`."""
        pixels = inputs["pixel_values"]
        (given,) = texts
        tokens = {name: tensor.expand(len(pixels), -1) for name, tensor in given.items()}
        with float32_sampling(pixels.dtype), numbers_sent(pixels.device), unread_masks(pixels.device):
            output = self._model(**inputs, **tokens)
        return {"logits": output.logits, "boxes": output.pred_boxes}

    def _stacked(self, texts: Sequence[_Text]) -> Batch:
        """The tokens of texts, `(len(texts), L)` int64 each; a single text is not padded."""
        tensors = [text.encoded.tensors() for text in texts]
        if len(texts) == 1:
            return {name: tensor[None] for name, tensor in tensors[0].items()}
        padding = within(self._processor.padding, self._most)  # behind the tokens, so that these keep their places
        return {n: replace(padding[n], side="right").stack([row[n] for row in tensors]) for n in tensors[0]}

    def _texts(self, labels: Labels) -> list[_Text]:
        with self._lock:
            texts = self._kept.pop(labels, None) or [self._read(part) for part in self._parts(labels)]
            self._kept[labels] = texts
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return texts

    def _parts(self, labels: Labels) -> list[Labels]:
        """The labels in order, as many in a part as the model reads at once."""
        parts: list[list[str]] = [[]]
        room = whole = self._most - 2  # beside [CLS] and [SEP]
        for label in labels:
            needed = len(self._encode(f"{_written(label)}.", label, special_tokens=False))
            if needed > whole:
                raise OptionError(
                    f"the text {label[:60]!r} of a label makes {needed} tokens; the model takes {whole} at most"
                )
            if needed > room:
                parts.append([])
                room = whole
            parts[-1].append(label)
            room -= needed
        return [tuple(part) for part in parts]

    def _read(self, labels: Labels) -> _Text:
        written = [_written(label) for label in labels]
        encoded = self._encode(". ".join(written) + ".", labels[0])
        spans, start = [], 0
        for label, text in zip(labels, written, strict=True):
            end = start + len(text)
            places = [at for at, (begin, stop) in enumerate(encoded.offsets) if start <= begin < stop <= end]
            if not places:
                raise OptionError(f"the model reads nothing in the label {label!r}; leave it out, or name it by words")
            spans.append(places)
            start = end + 2
        return _Text(encoded, spans)

    def _encode(self, text: str, label: str, *, special_tokens: bool = True) -> Encoded:
        try:
            return self._processor.encode(text, special_tokens=special_tokens)
        except InputError as error:
            raise OptionError(f"the text {label!r} of a label: {error.message}") from error


def _written(label: str) -> str:
    """A label as the models were trained to read it."""
    return label.strip().lower()
