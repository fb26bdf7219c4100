"""Many point and box prompts on one picture's embedding: the mask decoder of SAM and its kin, run without waste.

The result is the model's own to rounding. What it does otherwise:

- What depends on the picture alone (its keys, values and queries of the first layer) is computed once, not per prompt.
- Attention between 4,096 places and a handful of tokens multiplies the tokens by the projection's weights, not the
  places: `(q W_k) K^T` for `q (K W_k)^T`. With 7 tokens in 8 heads that is less than half of the products, and the
  projected places are never written to memory.
- Masks are computed for the prompts that asked for them; the transposed convolutions, whose strides are their kernels,
  are plain products of each place by itself.
- Coordinates are embedded in float32 whatever the model's dtype: bfloat16 would move points by up to 2 px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.sam.high_quality import HighQuality
from sensorium.models.sam.token_attention import affine, attend_each_other, output_of, read_places, write_places
from sensorium.models.sam.upscaling import gelu, image_of, patches, spread

NO_POINT = -1
"""The label of a point that stands for none: the model's own padding."""


@dataclass(frozen=True)
class ImageState:
    """What the decoder keeps of one picture, in the model's dtype; S places of C channels, h heads of d.

    Attributes:
        keys: `(S, C)`, the embedding with "no mask given" added.
        position: `(S, C)`, where each place lies.
        key: `(h, S, d)`, the first layer's keys for the tokens' attention.
        value: `(h, S, d)`, its values.
        query: `(h, S, d)`, its queries in the places' attention to the tokens, scaled.
        fine: SAM 2's features at twice and four times the resolution, as `(S, 4, C/4)` and `(S, 16, C/8)`, or none.
        edges: SAM-HQ's features at four times the resolution, `(C/8, 4h, 4w)`, or none.
        grid: (height, width) of the places.
    """

    keys: Tensor
    position: Tensor
    key: Tensor
    value: Tensor
    query: Tensor
    fine: tuple[Tensor, Tensor] | None
    edges: Tensor | None
    grid: tuple[int, int]


class PromptDecoder:
    """Runs the prompt encoder and mask decoder of a loaded model: SAM, SAM-HQ, SAM 2, EdgeTAM, SAM 3's tracker.

    Attributes:
        sorts: whether a prompt's masks are given best first, as SAM-HQ gives them.
        masks: how many masks there are for a prompt if several are wanted.
        input_size: px of the square that the model sees.
    """

    def __init__(self, model: Any) -> None:
        self._prompts, self._decoder = model.prompt_encoder, model.mask_decoder
        self._layers: list[Any] = list(self._decoder.transformer.layers)
        self._second = hasattr(self._decoder, "obj_score_token")  # SAM 2 has a token more, and fine features
        self._finer = HighQuality(self._decoder) if hasattr(self._decoder, "hq_token") else None
        self.sorts: bool = self._finer is not None
        self._gaussian = model.shared_image_embedding
        self.masks: int = self._decoder.num_multimask_outputs
        self.input_size: int = self._prompts.input_image_size
        self._placed = torch.empty(0)  # rewritten for each layer: fresh pages cost more than the sum itself

    def prepare(self, features: Sequence[Tensor]) -> ImageState:
        """Computes what all prompts on one picture share.

        Args:
            features: `(C, h, w)`; of SAM 2 `(C/8, 4h, 4w)`, `(C/4, 2h, 2w)` and that; of SAM-HQ `(V, h, w)`, what a
                layer of its encoder gives, and that.
        """
        embedding = features[-1]
        height, width = embedding.shape[-2:]
        dense = embedding + self._prompts.no_mask_embed.weight.view(-1, 1, 1)
        keys = dense.flatten(1).T.contiguous()
        position = self._places(height, width, keys)
        first = self._layers[0]
        tokens, places = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        placed = keys + position
        heads = tokens.num_attention_heads
        return ImageState(
            keys=keys,
            position=position,
            key=_by_head(tokens.k_proj(placed), heads),
            value=_by_head(tokens.v_proj(keys), heads),
            query=_by_head(places.q_proj(placed), heads) * places.scaling,
            fine=(patches(features[1], 2), patches(features[0], 4)) if self._second else None,
            edges=None if self._finer is None else self._finer.edges(embedding, features[0]),
            grid=(height, width),
        )

    def embed(self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> Tensor:
        """Prompts as the decoder takes them.

        Args:
            points: `(N, P, 2)` floating point, (x, y) in px of the square that the model sees.
            labels: `(N, P)` integers, 1 on the object and 0 off it.
            boxes: `(N, 4)` floating point, xyxy in the same px.

        Returns:
            `(N, T, C)` in the model's dtype.
        """
        parts: list[Tensor] = []
        if points is not None and labels is not None:
            if boxes is None:
                points, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=NO_POINT)
            parts.append(self._embed(points, labels))
        if boxes is not None:
            corners = boxes.view(-1, 2, 2)
            kinds = torch.arange(2, 4, device=boxes.device)
            if self._second:
                corners, kinds = F.pad(corners, (0, 0, 0, 1)), F.pad(kinds, (0, 1), value=NO_POINT)
            parts.append(self._embed(corners, kinds.expand(len(boxes), -1)))
        return torch.cat(parts, dim=1)

    def attend(self, state: ImageState, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Lets prompts and picture look at each other.

        Args:
            state: of the picture.
            prompts: `(N, T, C)` as `embed` gives.

        Returns:
            `(N, M + 1)` float32, how good each mask would be (IoU with the truth, as the model guesses), the single
            one first; `(N, M + 1, C)`, the masks' tokens, and SAM-HQ's; `(N, S, C)`, the places as each prompt sees
            them.
        """
        decoder = self._decoder
        kinds = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if self._finer is not None:
            kinds.append(self._finer.token)
        own = torch.cat([decoder.obj_score_token.weight, *kinds] if self._second else kinds)
        start = torch.cat([own.expand(len(prompts), -1, -1), prompts], dim=1)
        tokens, keys = self._first(state, start)
        for layer in self._layers[1:]:
            tokens, keys = self._further(layer, state, tokens, keys, start)
        final = decoder.transformer.final_attn_token_to_image
        look = read_places(final, tokens + start, self._at_their_places(keys, state), keys)
        tokens = decoder.transformer.layer_norm_final_attn(tokens + look)
        iou_place = int(self._second)
        ious = decoder.iou_prediction_head(tokens[:, iou_place])
        return ious.float(), tokens[:, iou_place + 1 : iou_place + 1 + decoder.num_mask_tokens], keys

    def draw(self, state: ImageState, tokens: Tensor, keys: Tensor, first: int, last: int) -> Tensor:
        """The masks of these tokens.

        Args:
            state: of the picture.
            tokens: as `attend` gives.
            keys: `(N, S, C)` as `attend` gives.
            first: the first mask wanted.
            last: the one after the last.

        Returns:
            `(N, last - first, 4h, 4w)` logits in float32.
        """
        decoder = self._decoder
        x = spread(decoder.upscale_conv1, keys)  # (N, S, 4, C/4)
        if state.fine is not None:
            x += state.fine[0]
        norm = decoder.upscale_layer_norm  # it would move the channels to the end, where they are already
        x = gelu(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        x = spread(decoder.upscale_conv2, x).flatten(2, 3)  # (N, S, 16, C/8)
        if state.fine is not None:
            x += state.fine[1]
        x = gelu(x).flatten(1, 2)
        heads = decoder.output_hypernetworks_mlps[first:last]
        hyper = torch.stack([head(tokens[:, first + i]) for i, head in enumerate(heads)], dim=2)
        masks = image_of((x @ hyper).float(), state.grid)
        if self._finer is not None and state.edges is not None:
            masks += self._finer.draw(image_of(x, state.grid), state.edges, tokens[:, -1]).float()
        return masks

    def choose(self, ious: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """SAM 2's single mask: the one of that token, or the best of the others where it is unstable.

        Args:
            ious: `(N, M + 1)` float32.
            masks: `(N, M + 1, H, W)` logits.

        Returns:
            `(N, 1)` and `(N, 1, H, W)`.
        """
        delta = self._decoder.dynamic_multimask_stability_delta
        flat = masks[:, 0].flatten(1)
        inner, outer = (flat > delta).sum(1).float(), (flat > -delta).sum(1).float()
        stability = torch.where(outer > 0, inner / outer, 1.0)
        stable = stability >= self._decoder.dynamic_multimask_stability_thresh
        chosen = torch.where(stable, 0, 1 + ious[:, 1:].argmax(1))
        rows = torch.arange(len(ious), device=ious.device)
        return ious[rows, chosen][:, None], masks[rows, chosen][:, None]

    @property
    def chooses(self) -> bool:
        """Whether a single mask is chosen as `choose` does."""
        return self._second and bool(self._decoder.dynamic_multimask_via_stability)

    def _first(self, state: ImageState, start: Tensor) -> tuple[Tensor, Tensor]:
        """The first layer: all prompts see the same picture, so its side of the products is there already."""
        layer = self._layers[0]
        count, length = start.shape[:2]
        tokens = layer.layer_norm1(attend_each_other(layer.self_attn, start, start))
        across = layer.cross_attn_token_to_image
        heads = across.num_attention_heads
        query = across.q_proj(tokens + start).view(1, count * length, heads, -1).transpose(1, 2)
        read = F.scaled_dot_product_attention(query, state.key[None], state.value[None], scale=across.scaling)
        look = output_of(across)(read.transpose(1, 2).reshape(count, length, -1))
        tokens = layer.layer_norm2(tokens + look)
        tokens = layer.layer_norm3(tokens + layer.mlp(tokens))

        back = layer.cross_attn_image_to_token
        key = back.k_proj(tokens + start).view(count, length, heads, -1).permute(0, 2, 1, 3)
        scores = key @ state.query.transpose(1, 2)  # (N, h, T, S)
        return tokens, layer.layer_norm4(write_places(back, scores, tokens, state.keys.repeat(count, 1, 1)))

    def _further(
        self, layer: Any, state: ImageState, tokens: Tensor, keys: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        placed = self._at_their_places(keys, state)
        query = tokens + start
        tokens = layer.layer_norm1(tokens + attend_each_other(layer.self_attn, query, tokens))
        tokens = layer.layer_norm2(tokens + read_places(layer.cross_attn_token_to_image, tokens + start, placed, keys))
        tokens = layer.layer_norm3(tokens + layer.mlp(tokens))

        back = layer.cross_attn_image_to_token
        count, length = tokens.shape[:2]
        heads = back.num_attention_heads
        key = back.k_proj(tokens + start).view(count, length, heads, -1) * back.scaling
        weight, bias = affine(back.q_proj)
        seen = torch.einsum("nthd,hdc->nhtc", key, weight.view(heads, -1, weight.shape[1]))
        offset = torch.einsum("nthd,hd->nht", key, bias.view(heads, -1)).flatten(1)[..., None]
        scores = torch.baddbmm(offset, seen.flatten(1, 2), placed.transpose(1, 2))
        scores = scores.view(count, heads, length, -1)
        return tokens, layer.layer_norm4(write_places(back, scores, tokens, keys))

    def _at_their_places(self, keys: Tensor, state: ImageState) -> Tensor:
        """`keys + position`, in a tensor that is good until the next call."""
        if self._placed.shape != keys.shape or self._placed.dtype != keys.dtype or self._placed.device != keys.device:
            self._placed = torch.empty_like(keys)
        return torch.add(keys, state.position, out=self._placed)

    def _embed(self, points: Tensor, kinds: Tensor) -> Tensor:
        """Points with their kinds (label, or corner of a box) as tokens."""
        encoder: Any = self._prompts
        table = encoder.point_embed
        weights = (
            table.weight if isinstance(table, nn.Embedding) else torch.cat([embedding.weight for embedding in table])
        )
        where = self._position((points + 0.5) / self.input_size, encoder.shared_embedding.positional_embedding)
        none = kinds == NO_POINT
        embedded = torch.where(none[..., None], 0.0, where) + torch.where(
            none[..., None], encoder.not_a_point_embed.weight.float(), weights.float()[kinds.clamp(min=0)]
        )
        return embedded.to(weights.dtype)

    def _places(self, height: int, width: int, like: Tensor) -> Tensor:
        """`(S, C)`: the position of each place of the embedding."""
        y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) / width
        grid = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1)
        return self._position(grid, self._gaussian.positional_embedding).flatten(0, 1).to(like.dtype)

    @staticmethod
    def _position(shares: Tensor, gaussian: Tensor) -> Tensor:
        """Random Fourier features of coordinates in [0, 1], in float32."""
        angles = 2 * math.pi * ((2 * shares - 1).float() @ gaussian.float())
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _by_head(places: Tensor, heads: int) -> Tensor:
    """`(S, h·d)` as `(h, S, d)`."""
    return places.view(len(places), heads, -1).transpose(0, 1).contiguous()
