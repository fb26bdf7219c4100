"""SAM-HQ's finer mask (Ke et al., arXiv:2306.01567): a token and features of its own, added to each mask of SAM."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class HighQuality:
    """The part of a loaded SamHQModel's mask decoder that SAM does not have.

    Attributes:
        token: `(1, C)`, what is asked beside the masks' tokens.

    Args:
        decoder: the model's mask decoder.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self.token: Tensor = decoder.hq_token.weight

    def edges(self, embedding: Tensor, early: Tensor) -> Tensor:
        """`(C/8, 4h, 4w)`, what of a picture the mask is drawn with.

        Args:
            embedding: `(C, h, w)`, of the picture.
            early: `(V, h, w)`, what the encoder's first global layer gives.
        """
        decoder = self._decoder
        late = decoder.activation(decoder.encoder_norm(decoder.encoder_conv1(embedding[None])))
        first = decoder.activation(decoder.compress_vit_norm(decoder.compress_vit_conv1(early[None])))
        edges: Tensor = decoder.encoder_conv2(late) + decoder.compress_vit_conv2(first)
        return edges[0]

    def draw(self, upscaled: Tensor, edges: Tensor, token: Tensor) -> Tensor:
        """`(N, 1, 4h, 4w)` logits, which are added to those of each of a prompt's masks.

        Args:
            upscaled: `(N, C/8, 4h, 4w)`, the picture as each prompt sees it.
            edges: as `edges` gives.
            token: `(N, C)`, what the prompts have made of `token`.
        """
        decoder = self._decoder
        x = decoder.mask_conv2(decoder.activation(decoder.mask_norm(decoder.mask_conv1(upscaled)))) + edges
        hyper = decoder.hq_mask_mlp(token)
        drawn: Tensor = (hyper[:, None] @ x.flatten(2)).unflatten(2, x.shape[2:])
        return drawn
