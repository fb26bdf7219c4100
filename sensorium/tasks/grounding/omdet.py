"""OmDet-Turbo: a picture is read beside its labels' vectors and a sentence that tells the task."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sensorium.errors import InputError, OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.float_sampling import float32_sampling
from sensorium.models.on_device import numbers_sent, sent
from sensorium.processors.padding import round_up
from sensorium.processors.text import Encoded, TextProcessor
from sensorium.tasks.base import Batch
from sensorium.tasks.grounding.box_scores import BoxScores, without_others
from sensorium.tasks.grounding.finder import Finder
from sensorium.tasks.grounding.queries import Queries
from sensorium.tasks.texts.label_texts import LabelTexts
from sensorium.tasks.texts.lengths import checked_processor

TASK_LENGTH = 77
"""Tokens of the sentence that tells the task; OmDet-Turbo's processor cuts off what is more."""

KEPT = 64
"""Sets of labels whose sentences are kept."""

USUAL_LABELS = 256
"""Up to so many a picture costs the same; the model scores each place of its maps for each label."""


class OmDetTurbo(Finder):
    """Boxes of queries, and how well each label's vector fits each of them.

    Args:
        model: Transformers' OmDetTurboForObjectDetection.
        text_processor: its tokenizer.
    """

    clips = True
    takes_images = False

    def __init__(self, model: Any, text_processor: TextProcessor) -> None:
        self._model = model
        self._language: Any = model.language_backbone
        self._labels = LabelTexts(_LabelReader(self._language), text_processor, unit=False)
        self._processor = checked_processor(text_processor, self._language.model)
        self._sentences: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()
        self.most = int(model.config.num_queries)

    def check(self, labels: tuple[str, ...]) -> None:
        """Refuses labels that the model cannot read; safe in several threads."""
        self._labels.check(labels)

    def cost(self, queries: Queries) -> float:
        """Doubles with the number of labels, beyond what is usual."""
        return float(2 ** math.ceil(math.log2(max(1.0, len(queries) / USUAL_LABELS))))

    def suppression(self, queries: Queries) -> float | None:
        """The IoU beyond which boxes of one label suppress each other, as in Transformers."""
        return 0.5

    def found(
        self,
        run: Callable[..., Batch],
        wanted: Sequence[Queries],
        device: torch.device,
        finish: Callable[[Batch], Batch],
    ) -> Batch:
        """`(B, N, Q)` logits and `(B, Q, 4)` boxes, for all labels at once; texts are encoded once."""
        output = run(self._texts(wanted[:1] if len(set(wanted)) == 1 else wanted, device))
        counts = [len(queries) for queries in wanted]
        return {
            "logits": without_others(output["logits"].float().transpose(1, 2), counts),
            "boxes": output["boxes"].float(),
        }

    def scores(self, outputs: Batch, wanted: Sequence[Queries]) -> Iterator[BoxScores]:
        """All at once: the model has made them so."""
        yield BoxScores(outputs["logits"][:, None], outputs["boxes"][:, None], [[0]] * len(wanted))

    def compute(self, inputs: Batch, *texts: Batch) -> Batch:
        """`logits`, `(B, Q, N)`, and `boxes`, `(B, Q, 4)` cxcywh in shares; a text is for each picture, or for all."""
        pixels = inputs["pixel_values"]
        there = nullcontext() if torch.compiler.is_compiling() else torch.device(pixels.device)
        (text,) = texts
        labels = text["labels"].to(pixels.dtype).expand(-1, len(pixels), -1)
        sentence = text["sentence"].to(pixels.dtype).expand(-1, len(pixels), -1)
        mask = text["mask"].expand(len(pixels), -1)
        with there, float32_sampling(pixels.dtype), numbers_sent(pixels.device), unread_masks(pixels.device):
            maps = self._model.encoder(self._model.vision_backbone(pixels), return_dict=True).extracted_states
            output = self._model.decoder(maps, labels, sentence, mask, return_dict=True)
        return {"logits": output.decoder_classes[-1], "boxes": output.decoder_coords[-1]}

    def _texts(self, wanted: Sequence[Queries], device: torch.device) -> Batch:
        """`labels` `(N, B, D)`, `sentence` `(L, B, D)` and its `mask` `(B, L)`, as the decoder takes them."""
        vectors = [self._labels.vectors(queries.labels, device) for queries in wanted]
        sentences = [self._sentence(queries.labels, device) for queries in wanted]
        lengths = [len(sentence) for sentence in sentences]
        most, longest = max(map(len, vectors)), max(lengths)
        if len(wanted) > 1:
            longest = min(round_up(longest), TASK_LENGTH)
        # the first label fills the rest: others would change which places of the picture are looked at
        labels = [torch.cat([each, each[:1].expand(most - len(each), -1)]) for each in vectors]
        sentence = pad_sequence(sentences)
        sentence = nn.functional.pad(sentence, (0, 0, 0, 0, 0, longest - len(sentence)))
        mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
        return {"labels": torch.stack(labels, dim=1), "sentence": sentence, "mask": sent(mask.long(), device)}

    def _sentence(self, labels: tuple[str, ...], device: torch.device) -> Tensor:
        """`(L, D)` float32, the states of "Detect a cat, a dog."; for one thread at a time."""
        known = self._sentences.pop(labels, None)
        if known is None:
            ids = sent(torch.tensor([self._read(labels).ids]), device)
            with unread_masks(device):
                known = self._language.model(ids)[0][0].float()
        self._sentences[labels] = known
        while len(self._sentences) > KEPT:
            self._sentences.popitem(last=False)
        return known

    def _read(self, labels: tuple[str, ...]) -> Encoded:
        try:
            encoded = self._processor.encode(f"Detect {', '.join(labels)}.")
        except InputError as error:
            raise OptionError(f"the labels {labels!r:.60} in one sentence: {error.message}") from error
        return encoded.cut(TASK_LENGTH, special=self._processor.tokenizer.all_special_ids)


class _LabelReader:
    """OmDet-Turbo's model of texts as one that gives a label's vector, in CLIP's words."""

    def __init__(self, language: Any) -> None:
        self._language = language
        self.text_model: nn.Module = language.model

    def get_text_features(self, input_ids: Tensor) -> Tensor:
        """`(B, D)`, of the end of each text, which has the highest number of all tokens."""
        states: Tensor = self._language.model(input_ids)[0]
        ends = input_ids.argmax(-1)[:, None, None]
        projection: Tensor = self._language.text_projection
        return states.take_along_dim(ends, dim=1).squeeze(1) @ projection
