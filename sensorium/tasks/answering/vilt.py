"""ViLT: one transformer over the question's tokens and the picture's patches, and a classifier of answers on it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.on_device import sent
from sensorium.processors.multimodal import MultimodalProcessor
from sensorium.tasks.answering.kinds import IMAGE, Choosing
from sensorium.tasks.base import Batch, Call


class ViltAnswering(Choosing):
    """ViltForQuestionAnswering.

    The weights run through fused attention, and only the class token goes through the last layer's second half, which
    is all that the classifier sees. Patches are taken in order: Transformers shuffles them, which changes no result
    but in the last digits. Where the config has fewer image positions than there are patches, Transformers draws some
    at random; here they are spread evenly, so that the answer is repeatable.
    """

    def __init__(self, model: nn.Module, processor: MultimodalProcessor) -> None:
        config: Any = model.config
        super().__init__(model, processor, {int(i): label for i, label in config.id2label.items()})

    def run(self, batch: Batch, options: Any, call: Call, dtype: torch.dtype) -> dict[str, Tensor]:
        """`logits`, `(B, number of answers)`."""
        pixels = self.processor.image.finish({"pixel_values": batch["pixel_values"]}, dtype=dtype)["pixel_values"]
        patches = self._patches(pixels).index_select(0, sent(batch[IMAGE], pixels.device))
        logits: Tensor = call(
            self._judge, batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"), patches
        )
        return {"logits": logits}

    def _patches(self, pixels: Tensor) -> Tensor:
        """Pictures, `(U, 3, H, W)`, as tokens with their positions, `(U, 1 + N, D)`, the class token first."""
        embeddings = self.model.vilt.embeddings
        maps = embeddings.patch_embeddings(pixels)
        side = self.model.config.image_size // self.model.config.patch_size
        grid = embeddings.position_embeddings[:, 1:].transpose(1, 2).unflatten(2, (side, side)).float()
        positions = F.interpolate(grid, size=maps.shape[2:], mode="bilinear", align_corners=True)
        tokens = (maps + positions.to(maps.dtype)).flatten(2).transpose(1, 2)
        max_patches = self.model.config.max_image_length
        if 0 < max_patches < tokens.shape[1]:
            spread = torch.linspace(0, tokens.shape[1] - 1, max_patches, device=tokens.device).round().long()
            tokens = tokens.index_select(1, spread)
        first = (embeddings.cls_token + embeddings.position_embeddings[:, :1]).expand(len(tokens), -1, -1)
        return torch.cat([first, tokens], dim=1)

    def _judge(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None, image: Tensor) -> Tensor:
        """Questions, `(B, L)`, with the patches of their pictures, `(B, 1 + N, D)`, to logits."""
        vilt = self.model.vilt
        kinds = vilt.embeddings.token_type_embeddings.weight
        text = vilt.embeddings.text_embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        states = torch.cat([text + kinds[0], image + kinds[1]], dim=1)
        seen = F.pad(attention_mask.bool(), (0, image.shape[1]), value=True)[:, None, None]
        *layers, last = vilt.encoder.layer
        for layer in layers:
            states = _layer(layer, states, states, seen)
        states = _layer(last, states[:, :1], states, seen)
        pooled = vilt.pooler(vilt.layernorm(states))
        logits: Tensor = self.model.classifier(pooled)
        return logits


def _layer(layer: Any, wanted: Tensor, states: Tensor, seen: Tensor) -> Tensor:
    """One layer of the encoder, for those of its states that are wanted.

    Args:
        layer: a ViltLayer.
        wanted: `(B, M, D)`, the first M of `states`.
        states: `(B, N, D)`.
        seen: `(B, 1, 1, N)` bool, which of them are no padding.
    """
    attention = layer.attention.attention
    heads = (attention.num_attention_heads, attention.attention_head_size)
    normed = layer.layernorm_before(states)
    query = attention.query(normed[:, : wanted.shape[1]]).unflatten(-1, heads).transpose(1, 2)
    key = attention.key(normed).unflatten(-1, heads).transpose(1, 2)
    value = attention.value(normed).unflatten(-1, heads).transpose(1, 2)
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    mixed = layer.attention.output.dense(context.transpose(1, 2).flatten(2)) + wanted
    widened = layer.intermediate(layer.layernorm_after(mixed))
    narrowed: Tensor = layer.output.dense(widened) + mixed
    return narrowed
