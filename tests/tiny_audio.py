"""Tiny random checkpoints of audio classifiers, built once a session and saved to folders."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder
from tests.tiny import _liven

_SPEECH = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 4, 4],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 8,
    "feat_extract_norm": "group",
}
_LAYER = {**_SPEECH, "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
_WAVE = ("Wav2Vec2FeatureExtractor", {})
_MASKED_WAVE = ("Wav2Vec2FeatureExtractor", {"return_attention_mask": True})

ARCHITECTURES = {  # name: (model type, its config, feature extractor)
    "wav2vec2": ("wav2vec2", _SPEECH, _WAVE),
    "wav2vec2-layer": ("wav2vec2", _LAYER, _MASKED_WAVE),
    "wav2vec2-weighted": ("wav2vec2", {**_SPEECH, "use_weighted_layer_sum": True}, _WAVE),
    "hubert": ("hubert", _SPEECH, _WAVE),
    "hubert-layer": ("hubert", _LAYER, _MASKED_WAVE),
    "hubert-batch-norm": ("hubert", {**_SPEECH, "conv_pos_batch_norm": True}, _WAVE),
    "wavlm": ("wavlm", _SPEECH, _WAVE),
    "unispeech": ("unispeech", _SPEECH, _WAVE),
    "unispeech-sat": ("unispeech-sat", _SPEECH, _WAVE),
    "data2vec-audio": ("data2vec-audio", {**_LAYER, "conv_pos_kernel_size": 5}, _MASKED_WAVE),
    "sew": ("sew", _SPEECH, _WAVE),
    "ast": (
        "audio-spectrogram-transformer",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_length": 100,
            "num_mel_bins": 32,
        },
        ("ASTFeatureExtractor", {"max_length": 100, "num_mel_bins": 32}),
    ),
    "whisper": (
        "whisper",
        {
            "d_model": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_layers": 1,
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 32,
            "num_mel_bins": 80,
            "max_source_positions": 100,
            "classifier_proj_size": 8,
            "vocab_size": 50,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
        ("WhisperFeatureExtractor", {"chunk_length": 2}),
    ),
}


@functools.cache
def folder(name: str, *, num_labels: int = 7, problem_type: str | None = None) -> Path:
    """A checkpoint folder of this architecture with random weights and its feature extractor."""
    import transformers
    from transformers import AutoConfig, AutoModelForAudioClassification

    model_type, settings, (extractor, recipe) = ARCHITECTURES[name]
    labels = {i: f"noise {i}" for i in range(num_labels)}
    config = AutoConfig.for_model(model_type, **settings, problem_type=problem_type)
    config.num_labels = num_labels
    config.id2label, config.label2id = labels, {v: k for k, v in labels.items()}
    torch.manual_seed(0)
    model = AutoModelForAudioClassification.from_config(config)
    _liven(model)
    with torch.no_grad():
        model.classifier.dense.weight.mul_(20) if name == "ast" else model.classifier.weight.mul_(200)
    place = passing_folder(f"sensorium-{name}-")
    model.eval().save_pretrained(place)
    getattr(transformers, extractor)(**recipe).save_pretrained(place)
    return place
