"""SAM 3's detector, run for pairs of a picture and what to look for on it (Carion et al., arXiv:2511.16719).

The result is the model's own to rounding. A picture and a text are each encoded once; what a picture's places make of
each other before they look at a text is computed once, too. Masks are drawn of the pairs that found something, and of
those queries alone.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sensorium.models.attention_masks import unread_masks
from sensorium.models.on_device import numbers_sent


@dataclass(frozen=True)
class Exemplars:
    """Boxes on the picture that show what is looked for, and what is not.

    Attributes:
        boxes: `(N, M, 4)` float32 cxcywh, in shares of the picture.
        labels: `(N, M)` int64, 1 for what is looked for and 0 for what is not.
        given: `(N, M)` bool, False for padding.
    """

    boxes: Tensor
    labels: Tensor
    given: Tensor


@dataclass(frozen=True)
class ConceptOutputs:
    """What the detector says of N pairs, with Q queries each.

    Attributes:
        scores: `(N, Q)` float32 in [0, 1].
        boxes: `(N, Q, 4)` float32 xyxy, in shares of the picture.
        queries: `(N, Q, C)`.
        places: `(N, S, C)`, the picture's places as they have looked at the prompt.
        prompt: `(N, T, C)`, texts and exemplars.
        told: `(N, T)` bool, False for padding.
    """

    scores: Tensor
    boxes: Tensor
    queries: Tensor
    places: Tensor
    prompt: Tensor
    told: Tensor


class ConceptDecoder:
    """Runs what comes behind the encoders of a loaded Sam3Model.

    Attributes:
        input_size: px of the square that the model sees.
        queries: how many objects it finds for a pair at most.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.input_size: int = model.config.vision_config.image_size
        self.queries: int = model.config.detr_decoder_config.num_queries

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Texts, `(N, T)` tokens with a mask of padding, as `(N, T, C)`."""
        with unread_masks(ids.device):
            features: Tensor = self._model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        return features

    def prepare(self, coarse: Tensor) -> Tensor:
        """What the encoder makes of pictures before a text is read: their places have looked at each other once.

        Args:
            coarse: `(B, C, h, w)`, the coarsest map of each picture.

        Returns:
            `(B, h * w, C)`.
        """
        first, places = self._model.detr_encoder.layers[0], _lines(coarse)
        normed = first.layer_norm1(places)
        placed = normed + _lines(self._position(coarse))
        looked: Tensor = places + first.self_attn(query=placed, key=placed, value=normed)[0]
        return looked

    def find(
        self, coarse: Tensor, prepared: Tensor, words: Tensor, told: Tensor, exemplars: Exemplars | None = None
    ) -> ConceptOutputs:
        """Looks for objects.

        Args:
            coarse: `(N, C, h, w)`, the coarsest map of each pair's picture.
            prepared: `(N, h * w, C)`, as `prepare` gives.
            words: `(N, T, C)` as `read` gives.
            told: `(N, T)` bool, False for padding.
            exemplars: of each pair, at least one; None if none has any.
        """
        model, position = self._model, self._position(coarse)
        with self._unasked(coarse.device):
            if exemplars is not None:
                words, told = self._shown(coarse, position, words, told, exemplars)
            places = self._encode(prepared, _lines(position), words, told)
            decoded = model.detr_decoder(
                vision_features=places,
                text_features=words,
                vision_pos_encoding=_lines(position),
                text_mask=told,
                spatial_shapes=torch.tensor([coarse.shape[-2:]], device="cpu"),  # where its values are read
            )
        queries = decoded.intermediate_hidden_states[-1]
        logits = model.dot_product_scoring(queries[None], words, told)[0, ..., 0].float()
        scores = logits.sigmoid() * decoded.presence_logits[-1].float().sigmoid()
        boxes = self._boxes(decoded.reference_boxes[-1].float(), model.detr_decoder.box_head(queries).float())
        return ConceptOutputs(scores, boxes, queries, places, words, told)

    def draw(self, found: ConceptOutputs, maps: list[Tensor], pairs: Tensor, queries: Tensor) -> Tensor:
        """The masks of some queries of some pairs.

        Args:
            found: as `find` gives.
            maps: `(P, C, h, w)` each, finest first, of these pairs' pictures.
            pairs: `(P,)` int64, which of `found` they are.
            queries: `(P, K)` int64, which of each pair's queries are drawn.

        Returns:
            `(P, K, H, W)` logits in float32.
        """
        chosen = found.queries[pairs].take_along_dim(queries[..., None], 1)
        with self._unasked(chosen.device):
            drawn = self._model.mask_decoder(
                decoder_queries=chosen,
                backbone_features=maps,
                encoder_hidden_states=found.places[pairs],
                prompt_features=found.prompt[pairs],
                prompt_mask=found.told[pairs],
            )
        logits: Tensor = drawn.pred_masks.float()
        return logits

    def _position(self, coarse: Tensor) -> Tensor:
        """`(N, C, h, w)`, where each place lies."""
        make, shape = self._model.vision_encoder.neck.position_encoding, (1, *coarse.shape[1:])
        position: Tensor = make(shape, coarse.device, coarse.dtype)
        return position.expand_as(coarse)

    def _encode(self, places: Tensor, position: Tensor, words: Tensor, told: Tensor) -> Tensor:
        """The places, `(N, S, C)`, as they have looked at the prompt, and at each other."""
        from transformers.masking_utils import create_bidirectional_mask

        encoder = self._model.detr_encoder
        mask = create_bidirectional_mask(
            config=encoder.config, inputs_embeds=places, attention_mask=told, encoder_hidden_states=words
        )
        first = encoder.layers[0]  # whose first half is done
        read = first.cross_attn(query=first.layer_norm2(places), key=words, value=words, attention_mask=mask)[0]
        places = places + read
        places = places + first.mlp(first.layer_norm3(places))
        for layer in encoder.layers[1:]:
            places = layer(places, prompt_feats=words, vision_pos_encoding=position, prompt_cross_attn_mask=mask)
        return places

    def _shown(
        self, coarse: Tensor, position: Tensor, words: Tensor, told: Tensor, exemplars: Exemplars
    ) -> tuple[Tensor, Tensor]:
        """Texts and exemplars as one prompt."""
        shown = self._model.geometry_encoder(
            box_embeddings=exemplars.boxes.to(coarse.dtype),
            box_mask=exemplars.given,
            box_labels=exemplars.labels,
            img_feats=(coarse,),
            img_pos_embeds=(position,),
        )
        return torch.cat([words, shown.last_hidden_state], dim=1), torch.cat([told, shown.attention_mask], dim=1)

    @staticmethod
    def _boxes(before: Tensor, offsets: Tensor) -> Tensor:
        """The last boxes, moved once more; float32, as bfloat16 next to 1 has steps of 1/256 of the picture."""
        share, rest = before.clamp(min=1e-3), (1 - before).clamp(min=1e-3)
        centre, size = ((share / rest).log() + offsets).sigmoid().split(2, dim=-1)
        return torch.cat([centre - 0.5 * size, centre + 0.5 * size], dim=-1)

    @staticmethod
    def _unasked(device: torch.device) -> ExitStack:
        """Within it the model's own code asks the device for nothing."""
        stack = ExitStack()
        stack.enter_context(unread_masks(device))
        stack.enter_context(numbers_sent(device))
        return stack


def _lines(maps: Tensor) -> Tensor:
    """`(N, C, h, w)` as `(N, h * w, C)`."""
    return maps.flatten(2).transpose(1, 2)
