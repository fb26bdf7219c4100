"""BLIP: a vision encoder, a question encoder that looks at it, and a decoder that writes the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.errors import OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.on_device import sent
from sensorium.processors.multimodal import MultimodalProcessor
from sensorium.tasks.answering.encodings import Encodings
from sensorium.tasks.answering.kinds import keys_of, rows_of
from sensorium.tasks.answering.writing import WritingAnswering
from sensorium.tasks.base import Batch, Call
from sensorium.tasks.writing.keeping import seeded
from sensorium.tasks.writing.pieces import Streamer
from sensorium.tasks.writing.writer import Writer


class BlipAnswering(WritingAnswering):
    """BlipForQuestionAnswering; each picture is encoded once.

    In Transformers the decoder looks at a shorter question's filling as well: `generate` does not tell it what is
    padding, and its cross-attention drops the mask that it is given. So there an answer depends on its neighbours. Here
    the mask is handed on to where it counts.
    """

    def __init__(self, model: Any, processor: MultimodalProcessor) -> None:
        ends = frozenset([model.config.text_config.sep_token_id])  # its decoder ends with [SEP]
        # WordPiece joins up to three tokens to one word once it has the last: do, ', n't
        super().__init__(model, processor, Writer(model, processor.text, ends=ends, held_words=3))
        self.padded = {name: self.padded[name] for name in ("input_ids", "attention_mask") if name in self.padded}
        self.encodings = Encodings(self.model.vision_model)

    @property
    def text_part(self) -> nn.Module:
        """The question encoder."""
        encoder: nn.Module = self.model.text_encoder
        return encoder

    @property
    def positions(self) -> int | None:
        """Those of the question encoder."""
        positions: int | None = self.model.config.text_config.max_position_embeddings
        return positions

    def check(self, options: Any) -> None:
        """Refuses answers that are longer than the decoder has positions for."""
        asked, positions = options.given().get("max_new_tokens", 0), self.positions
        if positions is not None and asked >= positions:
            raise OptionError(f"max_new_tokens is less than {positions} for this model, got {asked}")

    def run(
        self, batch: Batch, options: Any, call: Call, dtype: torch.dtype, *, streamer: Streamer | None = None
    ) -> dict[str, Tensor]:
        """`ids`, `(B, new tokens)`, and `largest` as the writer gives it."""
        images = rows_of(self.encodings.of(keys_of(batch), lambda at: self._see(batch, at, dtype)), batch)
        everything = torch.ones(images.shape[:2], dtype=torch.long, device=images.device)
        mask = batch["attention_mask"]
        with unread_masks(mask.device):
            questions = self.model.text_encoder(
                input_ids=batch["input_ids"],
                attention_mask=mask,
                encoder_hidden_states=images,
                encoder_attention_mask=everything,
            ).last_hidden_state
        begin = torch.full((len(mask), 1), self.model.decoder_start_token_id, device=mask.device)
        text = self.model.config.text_config
        settings = self.writer.settings(
            options, streamer=streamer, eos_token_id=text.sep_token_id, pad_token_id=text.pad_token_id
        )
        with seeded(options.seed, mask.device), _mask_kept(self.model.text_decoder), unread_masks(mask.device):
            written = self.model.text_decoder.generate(
                input_ids=begin,
                encoder_hidden_states=questions,
                encoder_attention_mask=mask,
                **settings,
            )
        return self.writer.outputs(written[:, 1:], settings)

    def _see(self, batch: Batch, at: Sequence[int], dtype: torch.dtype) -> Tensor:
        chosen = batch["pixel_values"][sent(at, batch["pixel_values"].device)]
        pixels = self.processor.image.finish({"pixel_values": chosen}, dtype=dtype)
        encoded: Tensor = self.model.vision_model(pixel_values=pixels["pixel_values"]).last_hidden_state
        return encoded


@contextmanager
def _mask_kept(decoder: Any) -> Iterator[None]:
    """Lets a BLIP decoder's cross-attention use the mask that it is given under another name than its own."""

    def hand_on(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = named.get("attention_mask")
        return args, {**named, "encoder_attention_mask": mask} if mask is not None else named

    crossing = [layer.crossattention.self for layer in decoder.bert.encoder.layer]
    hooks = [module.register_forward_pre_hook(hand_on, with_kwargs=True) for module in crossing]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
