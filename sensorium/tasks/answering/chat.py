"""Chat models that see: the question goes into their template, and the answer is what they write after it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sensorium.errors import InputError
from sensorium.processors.multimodal import ChatProcessor, FittedPicture
from sensorium.tasks.answering.base import KEY, PICTURE, keys_of
from sensorium.tasks.answering.blip import Writing
from sensorium.tasks.answering.encodings import Encodings
from sensorium.tasks.base import Batch, Call
from sensorium.tasks.generation import seeded

_ENCODED = {"pixel_values", "pixel_attention_mask"}
"""A picture with nothing but these is encoded by itself; others tell the language model something, too."""

_LOOK_BACK = (
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
)
"""Settings of `generate()` that go by the tokens of the prompt."""


class ChatAnswering(Writing):
    """Any of Transformers' image-text-to-text models with a chat template (LLaVA, Idefics3, SmolVLM, …).

    Where the model takes encoded pictures, each is encoded once, however many questions are asked about it.
    """

    processor: ChatProcessor
    templated = True
    held_words = 1

    def __init__(self, model: nn.Module, processor: ChatProcessor) -> None:
        super().__init__(model, processor)
        self.padded = processor.padding
        self.encodings = Encodings(model)
        takes = inspect.signature(self.model.forward).parameters
        self._takes_encoded = "mm_encoder_outputs" in takes and hasattr(self.model, "get_image_features")

    @property
    def positions(self) -> int | None:
        """Those of the language model."""
        config = self.model.config.get_text_config()
        positions: int | None = getattr(config, "max_position_embeddings", None)
        return positions

    def read(self, question: str, picture: FittedPicture, *, truncation: bool) -> dict[str, Tensor]:
        """The prompt's tensors, with a placeholder for each token of the picture.

        Raises:
            InputError: `question-too-long`, and those of `ChatProcessor.encode`.
        """
        tensors = self.processor.encode(picture, question)
        length = len(tensors["input_ids"])
        if self.positions is not None and length >= self.positions:
            raise InputError(
                f"with the picture the question has {length} tokens, and this model takes {self.positions} with its "
                "answer; ask a shorter one",
                code="question-too-long",
            )
        return tensors

    def run(self, batch: Batch, options: Any, call: Call, dtype: torch.dtype) -> dict[str, Tensor]:
        """`ids`, `(B, new tokens)`."""
        pad = self.processor.text.tokenizer.pad_token_id
        filling = min(self.ends, default=0) if pad is None else pad
        settings = self.settings(options, pad_token_id=filling)
        with seeded(options.seed, batch["input_ids"].device):
            if not self._looks_back(settings):
                return {"ids": self._write(batch, settings, dtype)}
            lengths = batch["attention_mask"].sum(1)
            written: dict[int, Tensor] = {}
            for length in lengths.unique().tolist():
                rows = (lengths == length).nonzero()[:, 0]
                text = {name: batch[name][rows, -length:] for name in self.padded if name in batch}
                ids = self._write({**batch, **text, PICTURE: batch[PICTURE][rows]}, settings, dtype)
                written.update(zip(rows.tolist(), ids, strict=True))
        inorder = [written[row] for row in range(len(lengths))]
        return {"ids": pad_sequence(inorder, batch_first=True, padding_value=filling)}

    def _write(self, batch: Batch, settings: dict[str, Any], dtype: torch.dtype) -> Tensor:
        text = {name: tensor for name, tensor in batch.items() if name in self.padded}
        written: Tensor = self.model.generate(**text, **self._pictures(batch, dtype), **settings)
        return written[:, batch["input_ids"].shape[1] :]

    def _looks_back(self, settings: dict[str, Any]) -> bool:
        """Whether what is written depends on the tokens before it by rules that do not know filling from text.

        `generate()` takes the filling of shorter questions for tokens that were written before, often the very token
        that ends a text: such questions are then written in batches of one length, without any filling.
        """
        configured = settings.get("generation_config", self.model.generation_config)
        told = {name: settings.get(name, getattr(configured, name, None)) for name in _LOOK_BACK}
        return any(value and not (name.endswith("_penalty") and value == 1) for name, value in told.items())

    def _pictures(self, batch: Batch, dtype: torch.dtype) -> dict[str, Any]:
        """What tells `generate()` of each question's picture: encoded already, or its tensors."""
        inputs = {name: tensor for name, tensor in batch.items() if name not in (*self.padded, PICTURE, KEY)}
        if not self._takes_encoded or inputs.keys() - _ENCODED:
            rows = {name: tensor.index_select(0, batch[PICTURE]) for name, tensor in inputs.items()}
            return self._finished(rows, dtype)
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        def see(at: list[int]) -> Sequence[Tensor]:
            chosen = self._finished({name: tensor[at] for name, tensor in inputs.items()}, dtype)
            found: Sequence[Tensor] = self.model.get_image_features(**chosen, return_dict=True).pooler_output
            return found

        encoded = self.encodings.of(keys_of(batch), see)
        rows_seen = [encoded[i] for i in batch[PICTURE].tolist()]
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=rows_seen)}}

    def _finished(self, inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """Pictures' tensors, `(U, 1, …)` each, as the model takes them."""
        return self.processor.image.finish({name: tensor.flatten(0, 1) for name, tensor in inputs.items()}, dtype=dtype)
