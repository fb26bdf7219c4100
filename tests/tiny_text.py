"""Tiny random checkpoints of models that read, with tokenizers trained here, built once a session."""

from __future__ import annotations

import copy
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.passing import passing_folder
from tests.tiny import SIZE, _liven

_TEXT = """
the river begins in hills north of town and runs past mill bridge market to sea Anna Ben Clara walked along on Sunday
morning because boat had left without them twelve people saw heron near old stone lock keeper said that water rose four
metres during storm 1953 since then every spring photograph photographer's photo a an is was café naïve Zürich
unbelievable unhappiness re-opened who what where when why how many did does this red green blue cat dog owl bank
"""
WORDS = _TEXT.split()

CORPUS = [" ".join(WORDS[(i * k) % len(WORDS)] for i in range(60)) + "." for k in (1, 3, 5, 7, 11, 13)] + [
    "Déjà vu: 東京 is a city 🙂, isn't it? (Yes!) — 100%.",
]

_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def words(count: int, seed: int = 0) -> str:
    """A text of so many words, with sentences and capitals."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [WORDS[i] for i in torch.randint(len(WORDS), (count,), generator=generator).tolist()]
    ends = (f"{word}. " if i % 9 == 8 else f"{word}, " if i % 5 == 4 else f"{word} " for i, word in enumerate(chosen))
    return "".join(ends).strip()


def _copied(make: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a tokenizer once, and gives a copy each time: a processor that is saved with one leaves its name in it."""
    made = functools.cache(make)

    @functools.wraps(make)
    def copied(**settings: Any) -> Any:
        return copy.deepcopy(made(**settings))

    return copied


@_copied
def wordpiece(*, cased: bool = False):
    """BERT's kind of tokenizer."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    blank = BertWordPieceTokenizer(lowercase=not cased)  # trained, it would know other pieces in each process
    split = [blank._tokenizer.pre_tokenizer.pre_tokenize_str(blank.normalize(text)) for text in CORPUS]
    found = sorted({word for row in split for word, _ in row})
    letters = sorted(set("".join(found)))
    halves = [(word[: len(word) // 2], f"##{word[len(word) // 2 :]}") for word in found if len(word) % 2 == 0]
    known = [*(word for word in found if len(word) % 2), *itertools.chain.from_iterable(halves)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *known])
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return BertTokenizer(vocab=vocab, do_lower_case=not cased, model_max_length=512)


@_copied
def byte_pairs():
    """RoBERTa's kind of tokenizer."""
    from transformers import RobertaTokenizer

    return RobertaTokenizer(**_trained_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), model_max_length=512)


@_copied
def clip_pairs():
    """CLIP's kind of tokenizer."""
    from transformers import CLIPTokenizer

    parts = _trained_pairs(["<|startoftext|>", "<|endoftext|>"], suffix="</w>")
    return CLIPTokenizer(**parts, model_max_length=77)


@_copied
def pieces(*, most: int = 64):
    """SigLIP's kind of tokenizer: pieces, then `</s>`, and no attention mask."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=most,
        model_input_names=["input_ids"],
    )


def _trained_pairs(special: list[str], *, suffix: str = "") -> dict:
    """A vocabulary and merges for byte-level pairs, by simple counting."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=suffix))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=not suffix)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=alphabet,
        end_of_word_suffix=suffix,
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.lower() for text in CORPUS] if suffix else CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"]
    for symbol in itertools.chain.from_iterable((a, a + suffix) for a in sorted(alphabet)):
        vocab.setdefault(symbol, len(vocab))
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in model["merges"]]
    return {"vocab": vocab, "merges": merges}


FNET = {**{k: v for k, v in _SMALL.items() if k != "num_attention_heads"}, "max_position_embeddings": 512}
MOBILEBERT = {**_SMALL, "max_position_embeddings": 512, "embedding_size": 16, "intra_bottleneck_size": 16,
              "num_feedforward_networks": 1}  # fmt: skip
READERS = {
    "bert": (wordpiece, {**_SMALL, "max_position_embeddings": 512}),
    "distilbert": (
        functools.partial(wordpiece, cased=True),
        {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 512},
    ),
    "roberta": (byte_pairs, {**_SMALL, "max_position_embeddings": 514, "pad_token_id": 1, "type_vocab_size": 1}),
    "fnet": (wordpiece, FNET),
    "mobilebert": (wordpiece, MOBILEBERT),
}


@functools.cache
def reader(model_type: str) -> Path:
    """A checkpoint folder of a model that answers questions about texts, with its tokenizer."""
    from transformers import AutoConfig, AutoModelForQuestionAnswering

    make, settings = READERS[model_type]
    tokenizer = make()
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **settings)
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_config(config)
    _liven(model)
    with torch.no_grad():  # logits that differ as much as a trained model's
        model.qa_outputs.weight.mul_(20)
    return _save(model_type, model, tokenizer)


_TEXT_MODEL = {**_SMALL, "projection_dim": 16}
_VISION = {**_SMALL, "image_size": SIZE, "patch_size": 8, "projection_dim": 16}
_CROPPED = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}
_SQUARE = {"size": {"height": SIZE, "width": SIZE}}
_ENDS = {"bos_token_id": 0, "eos_token_id": 1}
_ROBERTA = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}

MATCHERS = {
    "clip": (
        {"text_config": {**_TEXT_MODEL, **_ENDS}, "vision_config": _VISION},
        "CLIPModel",
        "CLIPImageProcessor",
        _CROPPED,
        clip_pairs,
    ),
    "siglip": (
        {
            "text_config": {**_SMALL, "max_position_embeddings": 64, "projection_size": 16, **_ENDS},
            "vision_config": _VISION,
        },
        "SiglipModel",
        "SiglipImageProcessor",
        _SQUARE,
        pieces,
    ),
    "tipsv2": (
        {
            "text_config": {**_SMALL, "max_position_embeddings": 64},
            "vision_config": {**_VISION, "mlp_ratio": 2},
        },
        "Tipsv2Model",
        "Tipsv2ImageProcessor",
        _SQUARE,
        wordpiece,
    ),
    "align": (
        {
            "text_config": _SMALL,
            "vision_config": {
                "image_size": SIZE,
                "width_coefficient": 0.25,
                "depth_coefficient": 0.25,
                "hidden_dim": 320,
                "depth_divisor": 4,
            },
            "projection_dim": 80,
        },
        "AlignModel",
        "EfficientNetImageProcessor",
        _SQUARE,
        wordpiece,
    ),
    "chinese_clip": (
        {"text_config": _TEXT_MODEL, "vision_config": _VISION},
        "ChineseCLIPModel",
        "ChineseCLIPImageProcessor",
        {**_SQUARE, "crop_size": {"height": SIZE, "width": SIZE}},
        wordpiece,
    ),
    "altclip": (
        {"text_config": {**_SMALL, **_ROBERTA, "project_dim": 16}, "vision_config": _VISION},
        "AltCLIPModel",
        "CLIPImageProcessor",
        _CROPPED,
        byte_pairs,
    ),
    "metaclip_2": (
        {"text_config": {**_TEXT_MODEL, **_ROBERTA}, "vision_config": _VISION},
        "MetaClip2Model",
        "CLIPImageProcessor",
        _CROPPED,
        byte_pairs,
    ),
}


@functools.cache
def matcher(model_type: str) -> Path:
    """A checkpoint folder of a model that compares pictures with texts, with its two processors."""
    import transformers

    settings, model, processor, recipe, make = MATCHERS[model_type]
    tokenizer = make()
    settings = {**settings, "text_config": {**settings["text_config"], "vocab_size": len(tokenizer)}}
    config = transformers.AutoConfig.for_model(model_type, **({"projection_dim": 16} | settings))
    torch.manual_seed(0)
    built = getattr(transformers, model)(config)
    _liven(built)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for weight in (weight for weight in built.parameters() if weight.ndim > 1):  # so that inputs tell in outputs
            gain = 2 if weight.ndim == 4 and model_type == "align" else 1.2
            weight.normal_(0, gain / weight[0].numel() ** 0.5, generator=generator)
        name, value = ("temperature", 0.1) if hasattr(built, "temperature") else ("logit_scale", 2.0)
        getattr(built, name).fill_(value)
    return _save(model_type, built, tokenizer, getattr(transformers, processor)(**recipe))


def _save(name: str, model, *processors) -> Path:
    place = passing_folder(f"sensorium-{name}-")
    model.eval().save_pretrained(place)
    for processor in processors:
        processor.save_pretrained(place)
    return place
