"""Tiny random checkpoints that write down speech, with tokenizers made here, and sounds to give them."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import torch

from tests.passing import passing_folder

RATE = 16_000
WINDOW_S = 2
"""Seconds that a tiny Whisper hears at once; a real one hears 30."""

LANGUAGES = ("en", "de", "fr")


def make_audio(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A few gliding tones under a slow envelope with some noise, float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * (f * t + rng.uniform(-60, 60) * t**2)) for f in rng.uniform(120, 2000, 4))
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * rng.uniform(0.3, 2) * t + rng.uniform(0, 6))
    return (0.12 * tones * envelope + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


def make_audios() -> list[np.ndarray]:
    """Sounds of several lengths, all within a window of the tiny Whisper."""
    return [make_audio(s, seed) for seed, s in enumerate([0.9, 1.7, 0.4, 1.2])]


CTC = {
    "wav2vec2": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "wav2vec2-layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "hubert": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "hubert-layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "wavlm": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "data2vec-audio": {},
    "unispeech-sat": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "sew": {"feat_extract_norm": "group", "squeeze_factor": 2},
}

CONV = {"conv_dim": [16, 16, 16, 16], "conv_stride": [5, 4, 4, 4], "conv_kernel": [10, 8, 4, 4]}


@functools.cache
def ctc(kind: str, seed: int = 0) -> Path:
    """A model that gives each frame a letter, its feature extractor and its tokenizer."""
    from transformers import AutoConfig, AutoModelForCTC, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    place = passing_folder(f"sensorium-{kind}-")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVKJXQZ'"]
    (place / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    config = AutoConfig.for_model(
        kind.removesuffix("-layer"),
        **{**CONV, **CTC[kind]},
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        vocab_size=len(letters),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(seed)
    model = AutoModelForCTC.from_config(config).eval()
    _spread(model)
    model.save_pretrained(place)
    Wav2Vec2CTCTokenizer(str(place / "vocab.json")).save_pretrained(place)
    masked = CTC[kind].get("feat_extract_norm") == "layer"
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked).save_pretrained(place)
    return place


@functools.cache
def whisper(
    seed: int = 10,
    *,
    multilingual: bool = True,
    alignment: bool = False,
    ends: float = 1.0,
    times: float = 4.0,
    max_length: int | None = 24,
    window_s: int = WINDOW_S,
) -> Path:
    """A model that writes, its feature extractor, tokenizer and generation config.

    Args:
        seed: of its weights.
        multilingual: whether it tells languages apart.
        alignment: whether it can tell when a word was said.
        ends: how much likelier than by chance it ends a text, as a logit.
        times: how much less likely it writes times.
        max_length: its generation config's; None leaves it to the pipeline.
        window_s: how many seconds it hears at once.
    """
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    place = passing_folder("sensorium-whisper-")
    tokenizer = _whisper_tokenizer(multilingual=multilingual, window_s=window_s)
    ids = tokenizer.get_vocab()
    config = WhisperConfig(
        vocab_size=len(ids),
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=20,
        max_source_positions=window_s * 50,
        max_target_positions=48,
        pad_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config).eval()
    _spread(model)
    _favour(model, [ids["<|endoftext|>"]], ends)
    _favour(model, range(ids["<|0.00|>"], len(ids)), -times)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        max_length=max_length,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        begin_suppress_tokens=[0, config.eos_token_id],
        suppress_tokens=[1, 2, 7, ids["<|startoftranscript|>"], ids["<|startofprev|>"], ids["<|nospeech|>"]],
        max_initial_timestamp_index=50,
        return_timestamps=False,
        is_multilingual=multilingual,
        **({"alignment_heads": [[0, 1], [1, 0]]} if alignment else {}),
        **(
            {
                "lang_to_id": {f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES},
                "task_to_id": {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")},
            }
            if multilingual
            else {}
        ),
    )
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    WhisperFeatureExtractor(feature_size=20, chunk_length=window_s).save_pretrained(place)
    return place


def _whisper_tokenizer(*, multilingual: bool, window_s: int):
    from transformers import WhisperTokenizer

    letters = [*"ĠabcdefghijklmnopqrstuvwxyzABC.,!?'", "Ċ", "Ã", "¼"]  # the last two are halves of one letter
    words = ["Ġthe", "Ġa", "Ġsea", "Ġof", "Ġwas", "Ġship", "Ġnight", "in", "er", "ing", "ed", 'Ġ"', "é"]
    vocab = {token: i for i, token in enumerate([*letters, *words])}
    tokenizer = WhisperTokenizer(vocab={**vocab, "<|endoftext|>": len(vocab)}, merges=[])
    special = ["<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES if multilingual)]
    special += ["<|translate|>", "<|transcribe|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(window_s * 50 + 1)])
    return tokenizer


def _favour(model: torch.nn.Module, tokens, logit: float) -> None:
    """Adds to the logits of some tokens, whatever was heard."""
    with torch.no_grad():
        bias = model.model.decoder.layer_norm.bias
        model.model.decoder.embed_tokens.weight[list(tokens)] += logit * bias / bias.square().sum()


def _spread(model: torch.nn.Module) -> None:
    """Weights so large that one sound's text differs from another's, and chances are far enough from even."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.add_(torch.rand_like(parameter))
            elif "decoder.embed_positions" in name:
                parameter.mul_(40)
            elif "encoder_attn" in name and parameter.ndim > 1:
                parameter.mul_(30)
            elif parameter.ndim > 1 and "embed_positions" not in name:
                parameter.mul_(6)
            elif parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
