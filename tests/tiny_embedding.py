"""Tiny random checkpoints that make vectors of texts, pictures and sounds, built once a session."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder
from tests.tiny import SIZE, _liven
from tests.tiny_text import _SMALL, byte_pairs, pieces, wordpiece

_ROBERTA = {**_SMALL, "max_position_embeddings": 130, "pad_token_id": 1, "type_vocab_size": 1}


def _mpnet_tokenizer():
    from transformers import MPNetTokenizer

    words = [*wordpiece().get_vocab()]
    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys([*special, *words]))}
    return MPNetTokenizer(vocab=vocab, do_lower_case=True, model_max_length=128)


def _piece_tokenizer():
    tokenizer = pieces(most=128)
    return type(tokenizer)(
        tokenizer_object=tokenizer._tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=128,
    )  # fmt: skip


MODELS = {  # model type: (tokenizer, settings, class of the head it is saved with, or None)
    "bert": (wordpiece, {**_SMALL, "max_position_embeddings": 512}, None),
    "bert-masked": (wordpiece, {**_SMALL, "max_position_embeddings": 512}, "BertForMaskedLM"),
    "roberta": (byte_pairs, _ROBERTA, "RobertaForSequenceClassification"),
    "xlm-roberta": (byte_pairs, _ROBERTA, None),
    "mpnet": (_mpnet_tokenizer, {**_SMALL, "max_position_embeddings": 130, "relative_attention_num_buckets": 32}, None),
    "t5": (
        _piece_tokenizer,
        {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "pad_token_id": 0, "eos_token_id": 1},
        "T5ForConditionalGeneration",
    ),
    "bart": (
        byte_pairs,
        {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 128},
        None,
    ),
    "gpt2": (byte_pairs, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}, "GPT2LMHeadModel"),
    "llama": (byte_pairs, {**_SMALL, "max_position_embeddings": 128}, "LlamaForCausalLM"),
    "fnet": (wordpiece, {**{k: v for k, v in _SMALL.items() if k != "num_attention_heads"},
             "max_position_embeddings": 128}, None),
}  # fmt: skip


@functools.cache
def encoder(name: str) -> Path:
    """A folder of a text model, saved with a head where `MODELS` names one, with its tokenizer."""
    import transformers

    make, settings, head = MODELS[name]
    tokenizer = make()
    config = transformers.AutoConfig.for_model(name.removesuffix("-masked"), vocab_size=len(tokenizer), **settings)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config) if head is None else getattr(transformers, head)(config)
    return _saved(name, _loud(model), tokenizer)


@functools.cache
def dpr(part: str, *, base: bool = False) -> Path:
    """One of DPR's encoders, "ctx_encoder" or "question_encoder", beside the other; on request as large as BERT."""
    import transformers

    name = {"ctx_encoder": "DPRContextEncoder", "question_encoder": "DPRQuestionEncoder"}[part]
    tokenizer = getattr(transformers, f"{name}Tokenizer")(vocab=wordpiece().get_vocab(), do_lower_case=True)
    torch.manual_seed(len(part))
    settings = {} if base else {**_SMALL, "projection_dim": 12}
    config = transformers.DPRConfig(**settings, vocab_size=len(tokenizer))
    model = getattr(transformers, name)(config)
    model = model if base else _loud(model, seed=len(part))
    return _saved(
        name, model, tokenizer, place=_families() / f"dpr-{part}-{'single-nq-base' if base else 'multiset-tiny'}"
    )


@functools.cache
def clap(*, fused: bool = False) -> Path:
    """CLAP, which hears one second of 8 kHz at once."""
    import transformers

    text = {**_SMALL, "vocab_size": len(byte_pairs()), "max_position_embeddings": 66, "pad_token_id": 1,
            "projection_dim": 16, "projection_hidden_act": "relu"}  # fmt: skip
    audio = {
        "window_size": 4, "num_mel_bins": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4],
        "num_classes": 4, "hidden_size": 32, "projection_dim": 16, "depths": [1, 1], "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 16, "enable_fusion": fused, "fusion_type": None,
        "patch_embed_input_channels": 1,
    }  # fmt: skip
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=16)
    torch.manual_seed(0)
    model = _loud(transformers.ClapModel(config))
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, hop_length=80, max_length_s=1, fft_window_size=256, frequency_max=3500,
        truncation="fusion" if fused else "rand_trunc",
    )  # fmt: skip
    return _saved(f"clap-{fused}", model, byte_pairs(), extractor)


@functools.cache
def siglip2() -> Path:
    """SigLIP 2, which takes pictures at their own aspect ratio."""
    import transformers

    tokenizer = pieces()
    text = {**_SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 16,
            "bos_token_id": 0, "eos_token_id": 1}  # fmt: skip
    vision = {**_SMALL, "num_patches": 16, "patch_size": 8}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    torch.manual_seed(0)
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=(SIZE // 8) ** 2)
    return _saved("siglip2", _loud(transformers.Siglip2Model(config)), tokenizer, processor)


def sentence_transformer(folder: Path, *modules, **settings) -> Path:
    """A folder that sentence-transformers writes: the model in `folder`, and what is behind it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    place = passing_folder("sensorium-st-")
    length = settings.pop("max_seq_length", None)
    first = Transformer(str(folder), max_seq_length=length)
    SentenceTransformer(modules=[first, *modules], device="cpu", **settings).save(str(place))
    return place


@functools.cache
def _families() -> Path:
    return passing_folder("sensorium-dpr-")


def _loud(model, seed: int = 2):
    """Weights so large that what is read tells in the vectors."""
    _liven(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.ndim > 1:
                tensor.normal_(0, 1.2 / tensor[0].numel() ** 0.5, generator=generator)
    return model


def _saved(name: str, model, *processors, place: Path | None = None) -> Path:
    place = place or passing_folder(f"sensorium-{name}-")
    model.eval().save_pretrained(place)
    for processor in processors:
        processor.save_pretrained(place)
    return place
