"""Passages as vectors, for an index: with their titles, and cut where they are too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from sensorium.errors import InputError
from sensorium.retrieval.encoding.worded_texts import WordedTexts
from sensorium.tasks.base import Unit
from sensorium.tasks.embedding.text_models import DprText, TextModel
from sensorium.tasks.feature_extraction import FeatureExtractionOptions, TextMeta
from sensorium.tasks.loading import check_fast
from sensorium.tasks.texts.pairs import encode_pair


class PassageEmbedding(WordedTexts):
    """The vector of a passage, and how many of its tokens were cut off.

    A passage is a text or a pair (title, text). DPR reads the pair as two segments, as it was trained to; other models
    read the title, a line break and the text.
    """

    name = "passage-embedding"

    def __init__(self, model: TextModel, processor: Any) -> None:
        super().__init__(model, processor)
        if isinstance(model, DprText):
            check_fast(processor, "DPR with titles")

    def expand(self, inputs: Any) -> list[Any] | None:
        """A list is several passages; a tuple is one."""
        return list(inputs) if isinstance(inputs, list) else None

    def split(self, raw: Any, options: FeatureExtractionOptions) -> Iterable[Unit]:
        """The passage's tokens, in one unit."""
        if not isinstance(raw, tuple):
            return super().split(raw, options)
        if len(raw) != 2:
            raise InputError(f"expected a text or a pair (title, text), got {len(raw)} things", code="not-text")
        title, text = raw
        for name, part in (("title", title), ("text", text)):
            if not isinstance(part, str):
                raise InputError(f"the {name} is a text (str), got {type(part).__name__}", code="not-text")
        if not text.strip():
            raise InputError("the text is empty: expected one that is not blank", code="empty-text")
        if not title.strip():
            return super().split(text, options)
        if isinstance(self.model, DprText):
            return [self._pair(self.prompt_of(options) + title, text, options)]
        return super().split(f"{title}\n{text}", options)

    def decode(self, outputs: Tensor, metas: Sequence[TextMeta], options: FeatureExtractionOptions) -> Sequence[Any]:
        """A vector a passage, with how many of its tokens were left out, and whether it is the last of its batch."""
        last = [False] * (len(metas) - 1) + [True]
        return list(zip(super().decode(outputs, metas, options), (meta.left_out for meta in metas), last, strict=True))

    def merge(self, parts: Sequence[Any], options: FeatureExtractionOptions, index: int) -> Any:
        """The `(D,)` float32 NumPy vector, how many tokens were left out, and whether a batch ends with it."""
        ((vector, left_out, last),) = parts
        return vector.numpy(), left_out, last

    def _pair(self, title: str, text: str, options: FeatureExtractionOptions) -> Unit:
        """A title and a text in one sequence, the longer of them cut first."""
        encoded, limit = self.processor.encode(title, text), self.limit_of(options)
        if limit is None or len(encoded) <= limit or not options.truncation:
            return self.unit(encoded, options)
        inputs = encode_pair(self.processor, (title, text), where="text", limit=limit, truncation=True)
        ids = inputs["input_ids"].tolist()
        types = inputs["token_type_ids"].tolist() if "token_type_ids" in inputs else [0] * len(ids)
        cut = self.unit(replace(encoded, ids=ids, type_ids=types, offsets=[], sequence_ids=[], word_ids=[]), options)
        return Unit(cut.inputs, meta=TextMeta(len(ids), len(encoded) - len(ids)))
