"""Tiny random checkpoints of models that answer questions about pictures, built once a session."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder
from tests.tiny import _liven
from tests.tiny_text import CORPUS, wordpiece

_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ANSWERS = 9

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] | upper }}: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _place(kind: str) -> Path:
    return passing_folder(f"sensorium-{kind}-")


def _reader(most: int = 512):
    """A tokenizer of its own, since some processors change theirs."""
    import copy

    tokenizer = copy.deepcopy(wordpiece())
    tokenizer.model_max_length = most
    return tokenizer


@functools.cache
def vilt(*, max_image_length: int = -1) -> Path:
    """ViLT with 24 text positions; the official checkpoints have 40."""
    from transformers import ViltConfig, ViltForQuestionAnswering, ViltImageProcessor, ViltProcessor

    tokenizer = _reader(24)
    labels = {i: f"answer {i}" for i in range(ANSWERS)}
    config = ViltConfig(
        **_SMALL,
        vocab_size=len(tokenizer),
        max_position_embeddings=24,
        image_size=64,
        patch_size=16,
        max_image_length=max_image_length,
        id2label=labels,
        label2id={label: i for i, label in labels.items()},
    )
    torch.manual_seed(0)
    return _saved(
        ViltForQuestionAnswering(config),
        ViltProcessor(ViltImageProcessor(size={"shortest_edge": 48}, size_divisor=16), tokenizer),
        _place("vilt"),
    )


@functools.cache
def blip() -> Path:
    """BLIP for questions."""
    from transformers import BlipConfig, BlipForQuestionAnswering, BlipImageProcessor, BlipProcessor

    tokenizer = _reader(32)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # as the official checkpoints have it
    text = {
        **_SMALL,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 300,
        "encoder_hidden_size": 16,
        "bos_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    vision = {**_SMALL, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    model = BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=vision, projection_dim=16))
    processor = BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer)
    return _saved(model, processor, _place("blip"))


def _chatter():
    from transformers import PreTrainedTokenizerFast

    named = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    inputs = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_reader().backend_tokenizer, model_input_names=inputs, model_max_length=512, **named
    )
    special = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    special += [f"<row_{i}_col_{j}>" for i in range(1, 4) for j in range(1, 4)]
    tokenizer.add_special_tokens({"additional_special_tokens": special, "eos_token": "<end_of_utterance>"})
    return tokenizer


def _language(tokenizer, **more) -> dict:
    return {
        **_SMALL,
        "model_type": "llama",
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        **more,
    }


@functools.cache
def llava() -> Path:
    """LLaVA: CLIP's eyes, Llama's language."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = _chatter()
    image = tokenizer.convert_tokens_to_ids("<image>")
    vision = {**_SMALL, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, "projection_dim": 16}
    config = LlavaConfig(
        vision_config=vision,
        text_config=_language(tokenizer),
        image_token_index=image,
        image_token_id=image,
        vision_feature_layer=-2,
    )
    torch.manual_seed(0)
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    return _saved(LlavaForConditionalGeneration(config), processor, _place("llava"))


@functools.cache
def idefics() -> Path:
    """Idefics3, the architecture of SmolVLM: a picture is cut into tiles, and seen as a whole besides."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
    )

    tokenizer = _chatter()
    config = Idefics3Config(
        vision_config={**_SMALL, "image_size": 32, "patch_size": 8},
        text_config=_language(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    processor = Idefics3Processor(
        Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE,
    )
    return _saved(Idefics3ForConditionalGeneration(config), processor, _place("idefics"))


@functools.cache
def bert() -> Path:
    """A text encoder with its tokenizer."""
    from transformers import BertConfig, BertModel

    tokenizer = _reader(64)
    torch.manual_seed(0)
    config = BertConfig(**_SMALL, vocab_size=len(tokenizer), max_position_embeddings=64)
    return _saved(BertModel(config), tokenizer, _place("bert"))


def _saved(model, processor, place: Path) -> Path:
    _liven(model)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.ndim > 1:  # so large that an answer depends on what was read and seen
                scale = 2.0 if "crossattention.output" in name else 0.4
                tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
    model.eval().save_pretrained(place)
    processor.save_pretrained(place)
    return place


QUESTIONS = ["what is this?", "how many owls did the keeper see near the old stone bridge?", "a cat", CORPUS[0][:60]]
