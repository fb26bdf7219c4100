"""Composites of a backbone, a text encoder and the fusion head on both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.models.attention_masks import unread_masks
from sensorium.models.on_device import sent
from sensorium.processors.multimodal import MultimodalProcessor
from sensorium.tasks.answering.encodings import Encodings
from sensorium.tasks.answering.kinds import Choosing, keys_of, rows_of
from sensorium.tasks.base import Batch, Call
from sensorium.tasks.heads import Composite
from sensorium.tasks.texts.lengths import most_positions


class FusionAnswering(Choosing):
    """A composite that `build_head(…, task="visual-question-answering")` made; each picture is encoded once."""

    def __init__(self, model: Composite, processor: MultimodalProcessor) -> None:
        super().__init__(model, processor, model.id2label)
        self.encodings = Encodings(model.backbone)

    @property
    def text_part(self) -> nn.Module:
        """The head's text encoder."""
        encoder: nn.Module = self.model.head.text_encoder
        return encoder

    @property
    def positions(self) -> int | None:
        """Those of the text encoder."""
        return most_positions(self.text_part)

    def run(self, batch: Batch, options: object, call: Call, dtype: torch.dtype) -> dict[str, Tensor]:
        """`logits`, `(B, number of answers)`."""

        def see(at: list[int]) -> Tensor:
            chosen = batch["pixel_values"][sent(at, batch["pixel_values"].device)]
            pixels = self.processor.image.finish({"pixel_values": chosen}, dtype=dtype)
            extracted: Tensor = self.model.head.extract(self.model.backbone, pixels["pixel_values"])
            return extracted

        features = rows_of(self.encodings.of(keys_of(batch), see), batch)
        text = {name: batch[name] for name in self.padded if name in batch}
        return {"logits": call(self._judge, features, text)}

    def _judge(self, features: Tensor, text: dict[str, Tensor]) -> Tensor:
        with unread_masks(features.device):
            logits: Tensor = self.model.head(features, **text)
        return logits
