"""The three checkpoints as Transformers' own classes load them, in float16, each with its card."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import DPRReader

from sensorium.backbones.quiet_loading import quiet_loading
from training.dense_retrieval.card import write_card
from training.dense_retrieval.encoders import BiEncoder
from training.dense_retrieval.tokens import Vocabulary

FOLDERS = {
    "question_encoder": "dpr-question_encoder-wordnet",
    "ctx_encoder": "dpr-ctx_encoder-wordnet",
    "reader": "dpr-reader-wordnet",
}
"""By the tokenizer's name; as DPR's encoders are called, so that one is found by the other's name."""


def save(
    folder: Path,
    model: BiEncoder,
    reader: DPRReader,
    vocabulary: Vocabulary,
    *,
    measured: Mapping[str, Mapping[str, float]],
    options: Mapping[str, object],
) -> None:
    """Write the folders of `FOLDERS`.

    Args:
        folder: what they are put in.
        model: the encoders.
        reader: the reader.
        vocabulary: of all three.
        measured: what they have reached, for their cards.
        options: of the command, for their cards.
    """
    for part, each in {"question_encoder": model.question, "ctx_encoder": model.passage, "reader": reader}.items():
        place = folder / FOLDERS[part]
        with quiet_loading():
            copy.deepcopy(each).to(torch.float16).save_pretrained(place)
        vocabulary.transformers(part, each.config.max_position_embeddings).save_pretrained(place)
        size = sum(weights.numel() for weights in each.parameters())
        write_card(place, part, parameters=size, measured=measured, options=options)
