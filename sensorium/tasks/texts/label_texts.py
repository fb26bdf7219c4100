"""Labels as vectors: their texts encoded once by a model of pictures and texts, and kept on its device."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import InputError, OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.on_device import sent
from sensorium.processors.padding import Padding
from sensorium.processors.text import Encoded, TextProcessor
from sensorium.tasks.texts.lengths import checked_processor, most_positions

TOGETHER = 64
"""Texts that are encoded in one batch."""

KEPT = 8
"""Sets of texts whose vectors are kept in one piece."""

KEPT_TEXTS = 16_384
"""Texts whose vectors are kept one by one, for sets that are put together anew."""

Texts = tuple[str, ...]


class LabelTexts:
    """Vectors of texts, kept for those that were used last, whichever sets they are in.

    Args:
        model: one of Transformers with `get_text_features`.
        processor: its tokenizer.
        length: the length that each text is padded or cut to, for a model that was trained so and sees no mask; None
            to pad to the longest of a batch, and to refuse what the model has no positions for.
        unit: whether vectors are brought to length 1.
    """

    def __init__(self, model: Any, processor: TextProcessor, *, length: int | None = None, unit: bool = True) -> None:
        self._model, self._unit = model, unit
        reads = getattr(model, "text_model", model)
        self._processor, self._length = checked_processor(processor, reads), length
        self._takes = set(inspect.signature(model.get_text_features).parameters)
        limits = [processor.max_length, most_positions(reads)]
        self._max_length = min((limit for limit in limits if limit is not None), default=None)
        self._tokens: OrderedDict[str, Encoded] = OrderedDict()
        self._rows: OrderedDict[str, Tensor] = OrderedDict()
        self._vectors: OrderedDict[Texts, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, texts: Texts) -> None:
        """Refuses texts that the model cannot take; safe in several threads.

        Raises:
            OptionError: one that is too long, or contains what is not a character.
        """
        with self._lock:
            if texts in self._vectors:
                return
            for text in texts:
                if text not in self._rows:
                    _keep(self._tokens, text, self._tokens.get(text) or self._encode(text), KEPT_TEXTS)

    def vectors(self, texts: Texts, device: torch.device) -> Tensor:
        """`(N, D)` float32 vectors on the model's device, which is told; for one thread at a time."""
        with self._lock:
            vectors = self._vectors.get(texts)
        if vectors is None:
            vectors = torch.stack(self._rows_of(texts, device))
        with self._lock:
            _keep(self._vectors, texts, vectors, KEPT)
        return vectors

    def _rows_of(self, texts: Texts, device: torch.device) -> list[Tensor]:
        """A `(D,)` vector for each text; those that are not known are encoded."""
        with self._lock:
            rows = {text: self._rows[text] for text in texts if text in self._rows}
            new = [text for text in dict.fromkeys(texts) if text not in rows]
            tokens = [self._tokens.pop(text, None) for text in new]
        encoded = [known or self._encode(text) for text, known in zip(new, tokens, strict=True)]
        rows.update(zip(new, self._run(encoded, device), strict=True))
        with self._lock:
            for text, row in rows.items():
                _keep(self._rows, text, row, KEPT_TEXTS)
        return [rows[text] for text in texts]

    def _encode(self, text: str) -> Encoded:
        try:
            encoded = self._processor.encode(text)
        except InputError as error:
            raise OptionError(f"the text {text!r} of a label: {error.message}") from error
        if self._length is not None:
            tokenizer = self._processor.tokenizer
            return encoded.cut(self._length, special=tokenizer.all_special_ids)
        if self._max_length is not None and len(encoded) > self._max_length:
            raise OptionError(
                f"the text {_shown(text)} of a label makes {len(encoded)} tokens; the model takes {self._max_length} "
                f"at most"
            )
        return encoded

    def _run(self, encoded: Sequence[Encoded], device: torch.device) -> list[Tensor]:
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))  # like lengths together: little padding
        rows: dict[int, Tensor] = {}
        for start in range(0, len(order), TOGETHER):
            places = order[start : start + TOGETHER]
            tensors = [encoded[i].tensors() for i in places]
            batch = {
                name: sent(self._stack([inputs[name] for inputs in tensors], padding), device)
                for name, padding in self._processor.padding.items()
                if name in self._takes
            }
            with unread_masks(device):
                features = self._model.get_text_features(**batch)
            features = (features if isinstance(features, Tensor) else features.pooler_output).float()
            if self._unit:
                features = features / features.norm(dim=-1, keepdim=True)
            rows.update(zip(places, map(torch.clone, features), strict=True))  # copies: a view keeps the whole batch
        return [rows[i] for i in range(len(encoded))]

    def _stack(self, tensors: list[Tensor], padding: Padding) -> Tensor:
        length = self._length or max(len(tensor) for tensor in tensors)
        batch = torch.full((len(tensors), length), int(padding.value))
        for row, tensor in zip(batch, tensors, strict=True):
            (row[length - len(tensor) :] if padding.side == "left" else row[: len(tensor)]).copy_(tensor)
        return batch


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
