"""The small files of a checkpoint, and the headers of its weights."""

from __future__ import annotations

import json
import struct

import numpy as np
import torch
from safetensors.numpy import save

from sensorium.checkpoints.config import kind_of, read_config
from sensorium.checkpoints.names import resolve
from sensorium.checkpoints.sentence_transformers import read_stored
from sensorium.checkpoints.sizes import FILES, check_files
from sensorium.checkpoints.stored import read_header
from sensorium.processors.image_loading import recipe_in
from sensorium.processors.recipe_timm import read_timm
from sensorium.processors.tokenizer_files import check_tokenizer
from tests.fuzzing.target import NUMBERS, Target, as_json, json_in, on_disk, picked

BEFORE = {"sensorium_recipe": {"version": 1, "geometry": [], "arithmetic": [], "pad_to": None, "pad_batch": False}}
RECIPES = [
    {"sensorium_recipe": {**BEFORE["sensorium_recipe"], "pad_to": [4, 4],
        "geometry": [{"step": "resize", "rule": "shortest", "size": [8, 8], "mode": "bilinear"},
                     {"step": "center_crop", "size": [4, 4], "fill": [0, 0, 0]}],
        "arithmetic": [{"operator": "subtract", "values": [1.0, 2.0, 3.0]}]}},
    {"pretrained_cfg": {"input_size": [3, 8, 8], "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5], "crop_pct": 0.9, "crop_mode": "border"}},
]  # fmt: skip
CONFIG = {
    "architectures": ["ViTForImageClassification"], "model_type": "vit", "num_labels": 2, "hidden_size": 8,
    "num_hidden_layers": 1, "image_size": 8, "id2label": {"0": "a", "1": "b"}, "num_beams": 2, "depths": [1, 2],
    "_attn_implementation": "sdpa", "text_config": {"vocab_size": 9},
}  # fmt: skip
MEDIA = {"size": {"shortest_edge": 8}, "resample": 2, "sampling_rate": 16000, "n_fft": 400, "crop_size": 8}
TEXTS = {"model_max_length": 512, "padding_side": "left", "added_tokens_decoder": {"0": {"content": "x"}}}
SMALL = [CONFIG, {"num_beams": 3, "max_length": 9}, MEDIA, MEDIA, MEDIA, TEXTS]
SENTENCES = ["modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"]
MODULES = [
    [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
     {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}],
    {"prompts": {"query": "q: ", "passage": None}, "default_prompt_name": "query", "similarity_fn_name": "dot"},
    {"max_seq_length": 128, "do_lower_case": False},
]  # fmt: skip


def weights(data: bytes) -> None:
    read_header(on_disk("model.safetensors", data), of="x")


def headers():
    arrays = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(0, np.int64)}
    yield save(arrays, metadata={"format": "pt"})
    text = b'{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    yield struct.pack("<Q", len(text)) + text + b"ab"


def config(data: bytes) -> None:
    """One of the files that say how large things are, in a folder of its own."""
    name, content = picked(data, list(FILES))
    folder = on_disk(f"config-{name}/{name}", content).parent
    check_files(folder, of="x", own_code=False)
    if name == FILES[0]:
        kind_of(read_config(folder, of="x"))


def sentences(data: bytes) -> None:
    name, content = picked(data, SENTENCES)
    folder = on_disk(f"sentences-{name}/{name}", content).parent
    on_disk(f"sentences-{name}/config.json", json.dumps(CONFIG).encode())
    read_stored(resolve(folder))


def recipe(data: bytes) -> None:
    value = json_in(data)
    if not isinstance(value, dict) or not value.keys() & {"sensorium_recipe", "pretrained_cfg"}:
        return
    found = recipe_in(value)
    made = read_timm(found.timm_config) if found.timm_config is not None else found.recipe
    if all(max(getattr(step, "size", (0,))) <= 64 for step in made.geometry) and max(made.pad_to or (0,)) <= 64:
        made.finish(made.fit(torch.zeros(3, 6, 5, dtype=torch.uint8))[None])


def tokenizer(data: bytes) -> None:
    check_tokenizer(on_disk("tokenizer/tokenizer.json", data).parent, of="x")


def pattern(data: bytes) -> None:
    """A regular expression in the place of a tokenizer's."""
    text = data.decode("utf-8", "replace")
    step = {"type": "Replace", "pattern": {"Regex": text}, "content": "ab"}
    content = {"normalizer": step, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": text}}, "model": {}}
    tokenizer(json.dumps(content).encode())


TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": {"strategy": {"Fixed": 8}, "pad_to_multiple_of": 8},
    "added_tokens": [{"id": 0, "content": "[CLS]", "special": True}],
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "aa"}, "content": "b"}, {"type": "Prepend", "prepend": "_"},
        {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhYgA="}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\p{L}+|[^\\s]{1,3}"}, "behavior": "Isolated"}]},
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [0]}}},
    "decoder": {"type": "WordPiece", "prefix": "##"},
    "model": {"type": "WordPiece", "unk_token": "x", "max_input_chars_per_word": 100, "vocab": {"a": 0}},
}  # fmt: skip
UNIGRAM = {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.5], ["b", 0.0]]}}
PATTERNS = (rb"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}", rb"(a+)+$", rb"[[:alpha:][^x]]*", rb"(?<n>x)\k{n}(?=y)")
TOKENS = (b"{1,}", b"(?:", b"(?<!", b"[[", b"]]", b"\\p{", b"[:", b"*+", b"{,9}", b"[^", b"--", b"&&", b"\\b")
LARGE = tuple(f'"{name}"'.encode() for name in (*CONFIG, *MEDIA, *TEXTS))
STEPS = (b'"Regex"', b'"String"', b'"Replace"', b'"Fixed"', b'"ids"', b'"SpecialToken"', b'"vocab"', b'"content"')

TARGETS = {
    "safetensors": Target(weights, headers, words=(*NUMBERS, b'"F4"', b'"__metadata__"', b'"data_offsets"')),
    "configs": Target(
        config, lambda: [as_json(value, i) for i, value in enumerate(SMALL)], words=(*NUMBERS, *LARGE), json_from=1
    ),
    "sentence-files": Target(
        sentences, lambda: [as_json(value, i) for i, value in enumerate(MODULES)], words=NUMBERS, json_from=1
    ),
    "recipes": Target(recipe, lambda: map(as_json, RECIPES), words=NUMBERS, json_from=0),
    "tokenizers": Target(tokenizer, lambda: map(as_json, (TOKENIZER, UNIGRAM)), words=(*NUMBERS, *STEPS), json_from=0),
    "tokenizer-patterns": Target(pattern, lambda: PATTERNS, words=TOKENS),
}  # fmt: skip
