"""Tiny random checkpoints of models that read passages, with tokenizers trained here, built once a session."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder
from tests.tiny import _liven
from tests.tiny_text import _SMALL, byte_pairs, wordpiece

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def dpr_tokenizer():
    """The tokenizer of DPR's readers, which knows no segments."""
    from transformers import DPRReaderTokenizer

    return DPRReaderTokenizer(vocab=wordpiece().get_vocab(), do_lower_case=True)


@functools.cache
def dpr(*, base: bool = False) -> Path:
    """DPR's reader; `base` gives it the size of the trained ones."""
    from transformers import DPRConfig, DPRReader

    tokenizer = dpr_tokenizer()
    size = {} if base else _SMALL
    config = DPRConfig(**size, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model = DPRReader(config)
    if not base:
        _liven(model)
    with torch.no_grad():  # logits that differ as much as a trained model's
        model.span_predictor.qa_outputs.weight.mul_(20)
        model.span_predictor.qa_classifier.weight.mul_(20)
    return _saved("dpr-reader", model, tokenizer)


def _pairs(*, chat: bool = False):
    import copy

    tokenizer = copy.deepcopy(byte_pairs())
    if chat:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>"]})
        tokenizer.chat_template = TEMPLATE
    tokenizer.model_max_length = 10**30
    return tokenizer


_ENDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


@functools.cache
def causal(*, chat: bool = False, positions: int = 2048) -> Path:
    """Llama; `chat` gives its tokenizer a template."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _pairs(chat=chat)
    config = LlamaConfig(**_SMALL, **_ENDS, vocab_size=len(tokenizer), max_position_embeddings=positions)
    torch.manual_seed(0)
    return _saved("llama", _loud(LlamaForCausalLM(config)), tokenizer)


@functools.cache
def seq2seq(kind: str) -> Path:
    """T5 or BART."""
    import transformers

    tokenizer = _pairs()
    ends = {**_ENDS, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    if kind == "t5":
        config = transformers.T5Config(
            **ends, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=1
        )
        return _saved(kind, _loud(transformers.T5ForConditionalGeneration(config)), tokenizer)
    sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _HALF.items()}
    config = transformers.BartConfig(**ends, **sizes, d_model=16, max_position_embeddings=1024)
    return _saved(kind, _loud(transformers.BartForConditionalGeneration(config)), tokenizer)


_HALF = {"layers": 2, "attention_heads": 2, "ffn_dim": 32}


def _loud(model):
    """Weights so large that what is written depends on what was read."""
    _liven(model)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.ndim > 1:
                tensor.copy_(0.4 * torch.randn(tensor.shape, generator=generator))
    return model


def _saved(name: str, model, tokenizer) -> Path:
    place = passing_folder(f"sensorium-{name}-")
    model.eval().save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place
