"""Whisper and wav2vec2 with random weights, tokenizers made here, and sounds for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

RATE = 16_000
SECONDS = [5, 8, 12, 20, 25, 30, 45, 60, 75, 100, 140, 180, 240, 360, 450, 650, 1200]  # an hour

SIZES = {  # width, layers, heads, mels
    "tiny": (64, 1, 2, 80),
    "base": (512, 6, 8, 80),
    "large-v3": (1280, 32, 20, 128),
}
"""Whisper's sizes as they were published; "tiny" is smaller than its, to try a script out."""


def whisper(folder: Path, size: str = "base") -> Path:
    """Whisper with random weights and a vocabulary of made-up words, every token in its place."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    place = folder / f"whisper-{size}"
    if (place / "tokenizer.json").exists():
        return place
    tokenizer, codes = _words()
    ids = tokenizer.get_vocab()
    width, layers, heads, mels = SIZES[size]
    sizes = {
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}.items()
    }
    config = WhisperConfig(
        vocab_size=len(ids),
        d_model=width,
        num_mel_bins=mels,
        **sizes,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    _widen(model)
    model.generation_config = GenerationConfig(
        bos_token_id=50257,
        eos_token_id=50257,
        pad_token_id=50257,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        max_length=448,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        suppress_tokens=list(range(50258, 51865)),
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in codes},
        task_to_id={name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")},
    )
    model.save_pretrained(place)
    WhisperFeatureExtractor(feature_size=mels).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def wav2vec2(folder: Path) -> Path:
    """wav2vec2-base with random weights and letters for its frames."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    place = folder / "wav2vec2-ctc"
    if not (place / "vocab.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=32)).save_pretrained(place)
        letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
        (place / "letters.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
        Wav2Vec2CTCTokenizer(str(place / "letters.json")).save_pretrained(place)
        Wav2Vec2FeatureExtractor().save_pretrained(place)
    return place


def files(folder: Path, minutes: float) -> tuple[list[str], float]:
    """FLAC files of tones and noise that come and go, a few times shorter where less than an hour is asked for."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    paths, total = [], 0.0
    for i, seconds in enumerate(SECONDS):
        wanted = max(5.0, seconds * minutes / 60)
        path = folder / f"{wanted:.1f}-{i}.flac"
        if not path.exists():
            soundfile.write(path, noise(wanted, i), RATE)
        paths.append(str(path))
        total += wanted
    return paths, total


def one_file(folder: Path, minutes: float) -> Path:
    """All of it in one FLAC file."""
    import soundfile

    path = folder / f"{minutes:g}-minutes.flac"
    if not path.exists():
        with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC") as file:
            for i in range(max(1, round(minutes))):
                file.write(noise(60, i))
    return path


def noise(seconds: float, seed: int) -> np.ndarray:
    """Gliding tones under a slow envelope, with some noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE), dtype=np.float32) / RATE
    tones = sum(np.sin(2 * np.pi * f * t + 40 * np.sin(t / f * 300)) for f in rng.uniform(100, 2500, 3))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 0.37 * t)
    return (0.1 * tones * envelope + 0.02 * rng.standard_normal(len(t))).astype(np.float32)


def _words():
    """A tokenizer with Whisper's numbers of words, languages and times."""
    from transformers import WhisperTokenizer
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    words = {f"Ġw{i}": i for i in range(50257)}
    tokenizer = WhisperTokenizer(vocab={**words, "<|endoftext|>": 50257}, merges=[], pad_token="<|endoftext|>")
    codes = list(LANGUAGES)[:99]
    special = ["<|startoftranscript|>", *(f"<|{code}|>" for code in codes), "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)])
    return tokenizer, codes


def _widen(model) -> None:
    """Makes chances unlike each other, as after training."""
    import torch

    with torch.no_grad():
        model.model.decoder.embed_tokens.weight.mul_(4)
        for layer in model.model.decoder.layers:
            for projection in (layer.encoder_attn.q_proj, layer.encoder_attn.k_proj, layer.encoder_attn.v_proj):
                projection.weight.mul_(4)
