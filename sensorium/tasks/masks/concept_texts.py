"""Texts as SAM 3 reads them: encoded once, and kept on its device."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import InputError
from sensorium.models.on_device import sent
from sensorium.models.sam.concepts import ConceptDecoder
from sensorium.processors.text import TextProcessor

TOGETHER = 64
"""Texts that are encoded in one batch."""

KEPT = 2048
"""Texts whose features are kept; of SAM 3 in float32, with 8 tokens each, 16 MB."""


class ConceptTexts:
    """The features of texts, kept for those that were used last.

    Args:
        decoder: of the model that reads them.
        processor: its tokenizer, which refuses tokens that the model does not know.
        length: how many tokens the model takes at most.
    """

    def __init__(self, decoder: ConceptDecoder, processor: TextProcessor, length: int) -> None:
        self._decoder, self._processor, self._length = decoder, processor, length
        self._ids: OrderedDict[str, list[int]] = OrderedDict()
        self._features: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, text: str) -> None:
        """Refuses a text that the model cannot take; safe in several threads.

        Raises:
            InputError: it is too long, or contains what is not a character.
        """
        with self._lock:
            if text in self._features or text in self._ids:
                return
        ids = self._encode(text)
        with self._lock:
            _keep(self._ids, text, ids)

    def features(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """Texts on the model's device, padded to the longest; for one thread at a time.

        Returns:
            `(N, T, C)` in the model's dtype, and `(N, T)` bool, False for padding.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self._features]
        found = {text: self._features[text] for text in texts if text in self._features}
        for start in range(0, len(missing), TOGETHER):
            found |= self._read(missing[start : start + TOGETHER], device)
        with self._lock:
            for text, features in found.items():
                _keep(self._features, text, features)
        rows = [found[text] for text in texts]
        lengths = sent([len(row) for row in rows], device)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return padded, torch.arange(padded.shape[1], device=device) < lengths[:, None]

    def _read(self, texts: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        rows = [torch.tensor(self._ids.get(text) or self._encode(text)) for text in texts]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        features = self._decoder.read(sent(ids, device), sent(mask, device))
        return {text: features[i, : len(row)].clone() for i, (text, row) in enumerate(zip(texts, rows, strict=True))}

    def _encode(self, text: str) -> list[int]:
        shown = repr(text if len(text) <= 60 else text[:59] + "…")
        try:
            ids = self._processor.encode(text).ids
        except InputError as error:
            raise InputError(f"the text {shown}: {error.message}", code="bad-prompt") from error
        if len(ids) > self._length:
            raise InputError(
                f"the text {shown} makes {len(ids)} tokens; the model takes {self._length} at most. Name what is "
                f"looked for in a few words",
                code="bad-prompt",
            )
        return ids


def _keep(kept: OrderedDict[str, Any], text: str, value: Any) -> None:
    kept[text] = value
    kept.move_to_end(text)
    while len(kept) > KEPT:
        kept.popitem(last=False)
