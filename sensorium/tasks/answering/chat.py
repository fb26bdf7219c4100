"""Chat models that see: the question is put into their template, and the answer is what they write next."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.errors import InputError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.on_device import sent
from sensorium.processors.multimodal import ChatProcessor, FittedImage
from sensorium.tasks.answering.encodings import Encodings
from sensorium.tasks.answering.kinds import IMAGE, KEY, keys_of
from sensorium.tasks.answering.writing import WritingAnswering
from sensorium.tasks.base import Batch, Call
from sensorium.tasks.writing.keeping import seeded
from sensorium.tasks.writing.pieces import Streamer
from sensorium.tasks.writing.writer import Writer, rows_in

_ENCODED = {"pixel_values", "pixel_attention_mask"}
"""A picture with nothing but these is encoded by itself; others tell the language model something, too."""


class ChatAnswering(WritingAnswering):
    """Any of Transformers' image-text-to-text models with a chat template (LLaVA, Idefics3, SmolVLM, …).

    Where the model takes encoded pictures, each is encoded once, however many questions are asked about it.
    """

    processor: ChatProcessor
    templated = True

    def __init__(self, model: nn.Module, processor: ChatProcessor) -> None:
        super().__init__(model, processor, Writer(model, processor.text))
        self.padded = processor.padding
        self.encodings = Encodings(model)
        config = self.model.config.to_dict()
        places = (config.get(f"{what}_token_{kind}") for what in ("image", "video") for kind in ("id", "index"))
        self._places = {place for place in places if isinstance(place, int)}
        takes = inspect.signature(self.model.forward).parameters
        self._takes_encoded = "mm_encoder_outputs" in takes and hasattr(self.model, "get_image_features")

    @property
    def positions(self) -> int | None:
        """Those of the language model."""
        config = self.model.config.get_text_config()
        positions: int | None = getattr(config, "max_position_embeddings", None)
        return positions

    def read(self, question: str, image: FittedImage, *, truncation: bool) -> dict[str, Tensor]:
        """The prompt's tensors, with a placeholder for each token of the picture.

        Raises:
            InputError: `question-too-long`, `token-out-of-range`, and those of `ChatProcessor.encode`.
        """
        tensors = self.processor.encode(image, question)
        self.text.check_ids(tensors["input_ids"].tolist(), besides=self._places)
        length = len(tensors["input_ids"])
        if self.positions is not None and length >= self.positions:
            raise InputError(
                f"with the picture the question has {length} tokens, and this model takes {self.positions} with its "
                "answer; ask a shorter one",
                code="question-too-long",
            )
        return tensors

    def run(
        self, batch: Batch, options: Any, call: Call, dtype: torch.dtype, *, streamer: Streamer | None = None
    ) -> dict[str, Tensor]:
        """`ids`, `(B, new tokens)`, and `largest` as the writer gives it."""
        settings = self.writer.settings(options, streamer=streamer, pad_token_id=self.writer.filling)

        def write(rows: Sequence[int] | None, length: int) -> Tensor:
            text = {name: rows_in(batch[name], rows)[:, -length:] for name in self.padded if name in batch}
            return self._write({**batch, **text, IMAGE: rows_in(batch[IMAGE], rows)}, settings, dtype)

        device = batch["input_ids"].device
        with seeded(options.seed, device), unread_masks(device):
            return self.writer.outputs(self.writer.in_batches(batch["attention_mask"], settings, write), settings)

    def _write(self, batch: Batch, settings: dict[str, Any], dtype: torch.dtype) -> Tensor:
        text = {name: tensor for name, tensor in batch.items() if name in self.padded}
        written: Tensor = self.model.generate(**text, **self._images(batch, dtype), **settings)
        return written[:, batch["input_ids"].shape[1] :]

    def _images(self, batch: Batch, dtype: torch.dtype) -> dict[str, Any]:
        """What `generate()` gets for each question's picture: its encoding, or its tensors."""
        inputs = {name: tensor for name, tensor in batch.items() if name not in (*self.padded, IMAGE, KEY)}
        if not self._takes_encoded or inputs.keys() - _ENCODED:
            rows = {name: tensor.index_select(0, sent(batch[IMAGE], tensor.device)) for name, tensor in inputs.items()}
            return self._finished(rows, dtype)
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        def see(at: list[int]) -> Sequence[Tensor]:
            chosen = self._finished({name: tensor[sent(at, tensor.device)] for name, tensor in inputs.items()}, dtype)
            features: Sequence[Tensor] = self.model.get_image_features(**chosen, return_dict=True).pooler_output
            return features

        encoded = self.encodings.of(keys_of(batch), see)
        rows_seen = [encoded[i] for i in batch[IMAGE].tolist()]
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=rows_seen)}}

    def _finished(self, inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """Pictures' tensors, `(U, 1, …)` each, as the model takes them."""
        return self.processor.image.finish({name: tensor.flatten(0, 1) for name, tensor in inputs.items()}, dtype=dtype)
