"""Where training starts in place of BERT: words with MiniLM's vectors, averaged by how rare they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.retrieval.encoding.encoder import Encoder
from training.dense_retrieval.tokens import SPECIAL, Passages, Vocabulary

SCALE = 0.1
"""The standard deviation of words' coordinates: small against the learning rate, so that they can still move."""

SHARE = 4.0
"""How much the mean of the words counts against the first token's own embedding."""


def word_vectors(vocabulary: Vocabulary, encoder: Encoder, width: int, path: Path) -> Tensor:
    """`(V, width)` float32: each piece encoded alone, and brought to the width by PCA; kept in a file.

    Static vectors of words from a sentence encoder are the idea of Model2Vec (Tulkens and van Dongen, 2024).
    """
    if not path.exists():
        np.save(path, encoder.encode([piece.removeprefix("##") for piece in vocabulary.pieces]))
    found = torch.from_numpy(np.load(path))
    centred = found - found[len(SPECIAL) :].mean(0)
    directions = torch.linalg.svd(centred.T @ centred).U[:, :width]
    words = centred @ directions
    return words / words.std()


def rarity(passages: Passages, size: int) -> Tensor:
    """`(V,)` float32: log of (1 + log(N / n)) of each piece that is in n of N passages, about 0 to 2.5."""
    seen = Counter[int]()
    for title, text in zip(passages.titles, passages.texts, strict=True):
        seen.update({*title, *text})
    counts = torch.tensor([max(1, seen[i]) for i in range(size)], dtype=torch.float32)
    return (1 + (len(passages) / counts).log()).log()


@torch.no_grad()
def start_from(encoders: Sequence[nn.Module], words: Tensor, rare: Tensor) -> None:
    """Sets the weights of encoders of one layer so that a text's vector is the mean of its words', rare ones first.

    The first coordinate of a word tells how rare it is; the first token asks each head for it alone, so that attention
    is shared out by 1 + log(N / n). Values pass through as they are, and the feed-forward part starts near nothing.

    Args:
        encoders: DPR's, all of the same shape; changed in place.
        words: `(V, D)` of unit scale; the first coordinate is not used.
        rare: `(V,)`.
    """
    for encoder in encoders:
        bert = encoder.base_model.bert_model
        (layer,) = bert.encoder.layer
        own, width = layer.attention.self, words.shape[1]
        table = bert.embeddings.word_embeddings.weight
        table[:, 1:] = SCALE * words[:, 1:]
        table[:, 0] = SCALE * (rare - rare.mean())
        table[: len(SPECIAL), 0] = SCALE * (rare.min() - rare.mean())
        for matrix in (own.query.weight, own.key.weight):
            nn.init.normal_(matrix, std=0.2 * width**-0.5)
        own.query.bias.zero_()
        own.query.bias[:: own.attention_head_size] = own.attention_head_size**0.5
        own.key.weight[:: own.attention_head_size] = torch.eye(width)[0]
        own.value.weight.copy_(torch.eye(width))
        layer.attention.output.dense.weight.copy_(SHARE * torch.eye(width))
        layer.output.dense.weight.mul_(0.1)
