"""Which architectures padding changes is found here, by padding; and how many positions each has."""

from __future__ import annotations

import inspect

import pytest
import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto as auto

from sensorium.tasks.texts.lengths import PADDING_CHANGES, most_positions, takes_padding

SMALL = {
    32: "hidden_size d_model dim n_embd embedding_size embed_dim emb_dim moe_intermediate_size",
    2: "num_hidden_layers n_layers n_layer num_layers encoder_layers decoder_layers num_decoder_layers "
    "num_experts_per_tok",
    4: "num_attention_heads n_heads n_head num_heads encoder_attention_heads decoder_attention_heads "
    "num_key_value_heads num_experts num_local_experts n_routed_experts",
    8: "head_dim d_kv d_head rotary_dim",
    64: "intermediate_size n_inner d_ff hidden_dim d_inner encoder_ffn_dim decoder_ffn_dim ffn_dim entity_emb_size "
    "entity_vocab_size",
    300: "vocab_size",
}
"""Settings that make most models small."""

FURTHER = {
    "falcon": {"head_dim": None},
    "funnel": {
        "d_model": 64,
        "block_sizes": [1, 1, 1],
        "num_hidden_layers": None,
        "architectures": ["FunnelModel"],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "neomme": {"head_dim": 16},
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 20},
    "reformer": {"axial_pos_embds": False, "hidden_size": 32, "attn_layers": ["local", "lsh"]},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
}
"""Settings that some need besides; None leaves one out."""

ROWS = ((5, 8), (13, 40), (37, 40), (130, 144), (760, 832))
"""Lengths of texts, and what they are padded to: little and much, in blocks and out of them."""

DEPENDS_ON_ROW = {"big_bird", "bigbird_pegasus", "led", "longformer", "mra", "reformer"}
"""Kept in the set though small ones do not show it: they work in blocks or windows that padding shifts or adds."""

READERS = {*auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES}

NOT_OF_TEXT_ALONE = {
    "layoutlm", "layoutlmv2", "layoutlmv3", "lxmert", "modernvbert", "perceiver", "tapas", "ultravbert", "wav2vec2",
}  # fmt: skip


def small_model(model_type):
    defaults = CONFIG_MAPPING[model_type]()
    settings = {name: size for size, names in SMALL.items() for name in names.split() if hasattr(defaults, name)}
    settings |= FURTHER.get(model_type, {})
    for name in ("layer_types", "mlp_layer_types"):
        if isinstance(getattr(defaults, name, None), list):
            settings[name] = getattr(defaults, name)[:1] + getattr(defaults, name)[-1:]
    if (getattr(defaults, "pad_token_id", None) or 0) >= 300 or model_type == "esm":
        settings["pad_token_id"] = 0
    config = CONFIG_MAPPING[model_type](**{name: value for name, value in settings.items() if value is not None})
    with torch.device("meta"):
        assert sum(p.numel() for p in transformers.AutoModel.from_config(config).parameters()) < 20e6, "not small"
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def drift(model, length, padded):
    """How far padding moves the hidden states of a text, as a share of their largest."""
    takes = inspect.signature(model.forward).parameters
    filling = getattr(model.config, "pad_token_id", None) or 0
    ids = torch.randint(10, 290, (1, length), generator=torch.Generator().manual_seed(length))
    long = torch.nn.functional.pad(ids, (0, padded - length), value=filling)
    states = []
    for row in (ids, long):
        mask = (torch.arange(row.shape[1])[None] < length).long()
        inputs = {"input_ids": row, **({"attention_mask": mask} if "attention_mask" in takes else {})}
        with torch.no_grad():
            states.append(model(**inputs)[0])
    alone, beside = states
    return ((alone - beside[:, :length]).abs().max() / alone.abs().max()).item()


def is_changed(model):
    positions = min(most_positions(model) or 10**6, getattr(model.config, "max_position_embeddings", None) or 10**6)
    return any(drift(model, *row) > 1e-4 for row in ROWS if row[1] <= positions)


@pytest.mark.parametrize("model_type", sorted(READERS & set(CONFIG_MAPPING) - NOT_OF_TEXT_ALONE))
def test_padding_changes_those_that_are_never_padded_and_no_others(model_type):
    model = small_model(model_type)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    assert is_changed(model) == (not takes_padding(model)) or model_type in DEPENDS_ON_ROW


def test_those_that_are_never_padded_are_all_known():
    assert PADDING_CHANGES >= DEPENDS_ON_ROW
    assert set(CONFIG_MAPPING) >= PADDING_CHANGES


@pytest.mark.parametrize(
    ("model_type", "settings", "expected"),
    [
        ("bert", {}, 512),
        ("roberta", {"max_position_embeddings": 514}, 512),
        ("gpt2", {}, 1024),
        ("bart", {}, 1024),
        ("opt", {}, 2048),
        ("openai-gpt", {}, 512),
        ("led", {}, 1024),  # its decoder, which reads the text of a question, too
        ("llama", {}, None),
        ("t5", {}, None),
    ],
)
def test_how_many_positions_a_model_has(model_type, settings, expected):
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(CONFIG_MAPPING[model_type](**settings))
    assert most_positions(model) == expected
