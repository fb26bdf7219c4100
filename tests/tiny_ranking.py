"""Tiny random cross-encoders: models that read a query and a text together and give one number."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests import tiny_text
from tests.tiny import _liven
from tests.tiny_text import _SMALL, _save, byte_pairs, wordpiece

_ROBERTA = {**_SMALL, "max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}

RANKERS = {
    "bert": (wordpiece, {**_SMALL, "max_position_embeddings": 64}),
    "roberta": (byte_pairs, _ROBERTA),
    "xlm-roberta": (byte_pairs, _ROBERTA),
    "deberta-v2": (
        wordpiece,
        {
            **_SMALL,
            "max_position_embeddings": 64,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "type_vocab_size": 0,
        },
    ),
    # padding changes these, or they tell the last token by an id that is not the tokenizer's
    "mobilebert": (wordpiece, tiny_text.MOBILEBERT | {"max_position_embeddings": 64}),
    "fnet": (wordpiece, tiny_text.FNET | {"max_position_embeddings": 64}),
    "gpt2": (byte_pairs, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 66, "pad_token_id": None}),
    "llama": (byte_pairs, {**_SMALL, "max_position_embeddings": 66, "pad_token_id": 5}),
}


@functools.cache
def ranker(model_type: str, *, num_labels: int = 1, seed: int = 0) -> Path:
    """A checkpoint folder of a cross-encoder, with its tokenizer; it takes 64 tokens."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    make, settings = RANKERS[model_type]
    tokenizer = make()
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), num_labels=num_labels, **settings)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    _liven(model)
    generator = torch.Generator().manual_seed(seed + 2)
    with torch.no_grad():
        for weight in (weight for weight in model.parameters() if weight.ndim > 1):  # so that inputs tell in scores
            weight.normal_(0, 1.5 / weight[0].numel() ** 0.5, generator=generator)
    return _save(model_type, model, tokenizer)
