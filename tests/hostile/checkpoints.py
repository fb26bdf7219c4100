"""Bombs of checkpoints: configs, weights, tokenizers and chat templates."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import tiny, tiny_reading, tiny_text
from tests.hostile.bomb import FINE, MIB, Bomb

ENDS = ("CheckpointError", "UnsafeCheckpointError", "MissingWeightsError", "TaskMismatchError")


def _written(folder: Path, source: Path, file: str, content: bytes | Callable[[], bytes]) -> None:
    shutil.copytree(source, folder, dirs_exist_ok=True)
    (folder / file).write_bytes(content() if callable(content) else content)


def _changed(folder: Path, source: Path, file: str, entries: dict[str, Any]) -> None:
    content = json.loads((source / file).read_text())
    _written(folder, source, file, json.dumps({**content, **entries}).encode())


def config_bombs() -> Iterator[Bomb]:
    asked = {
        "config.json": {
            "num_labels": 10**9,
            "num_hidden_layers": 10**5,
            "hidden_size": 2**20,
            "intermediate_size": 2**27,
            "image_size": 30_000,
            "num_attention_heads": 10**9,
            "patch_size": 0,
            "num_channels": 10**9,
            "id2label": {str(i): "x" for i in range(300_000)},
            "hidden_act": "x" * 10**6,
            "torch_dtype": "x" * 10**6,
            "_attn_implementation": "org/repo:kernel",
            "auto_map": {"AutoModel": "org/repo--x.X"},
            "layer_norm_eps": 1e308,
            "pruned_heads": {str(i): list(range(1_000)) for i in range(1_000)},
            "chunk_size_feed_forward": 2**40,
        },
        "preprocessor_config.json": {
            "size": {"height": 30_000, "width": 30_000},
            "crop_size": {"height": 10**9, "width": 1},
            "resample": 10**9,
            "image_mean": [0.5] * 10**6,
            "image_std": [0, 0, 0],
            "rescale_factor": 1e308,
        },
    }
    more = [("size", {"height": 0, "width": 0}), ("crop_size", {"height": 0, "width": 0}), ("pad_size", "x"),
            *(("image_mean", value) for value in ([0.5] * 2, 1e308, float("nan"), None, "x" * 10**6)),
            *(("image_std", value) for value in (0, [1e-300] * 3, float("inf"), [[0.5] * 3] * 10**4)),
            *(("rescale_factor", value) for value in (0, 1e-300, float("nan"), None)),
            ("resample", 2.5), ("preprocess", 5)]  # fmt: skip
    for file, entries in (*asked.items(), *(("preprocessor_config.json", dict([entry])) for entry in more)):
        for entry, value in entries.items():
            yield Bomb(
                f"{file}, {entry} {str(value)[:30]}",
                "checkpoint",
                lambda f, e=entry, v=value, n=file: _changed(f, tiny.folder("vit"), n, {e: v, "do_center_crop": True}),
                (*ENDS, FINE),
            )
    for file in ("config.json", "preprocessor_config.json"):
        for name, content in {
            "objects in objects": b'{"a":' * 200_000,
            "20 MB": lambda: b'{"a": "' + b"x" * 20_000_000 + b'"}',
            "a number of a megabyte": b'{"a": ' + b"9" * MIB + b"}",
            "a list": b"[]",
            "nothing": b"",
            "another code": b"\xff\xfe{\0}\0",
        }.items():
            yield Bomb(
                f"{file} of {name}",
                "checkpoint",
                lambda f, c=content, n=file: _written(f, tiny.folder("vit"), n, c),
                (*ENDS, FINE),
            )
    for name, content in {
        "a header of 2**63": struct.pack("<Q", 2**63) + b"{}",
        "a header of 90 MB": lambda: struct.pack("<Q", 90 * MIB) + b" " * (90 * MIB),
        "objects in objects": struct.pack("<Q", 500_000) + b'{"a":' * 100_000,
        "100,000 tensors": _weights(
            {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
        ),
        "a shape that wraps": _weights({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}),
        "a tensor of 2**60": _weights({"a": {"dtype": "F32", "shape": [2**58], "data_offsets": [0, 2**60]}}),
    }.items():
        yield Bomb(
            f"weights of {name}",
            "checkpoint",
            lambda f, c=content: _written(f, tiny.folder("vit"), "model.safetensors", c),
            ENDS,
        )


def _weights(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def tokenizer_bombs() -> Iterator[Bomb]:
    thousand = _replace({"String": "a"}, "a" * 1_000)
    nested: dict[str, Any] = thousand
    for _ in range(300):
        nested = {"type": "Sequence", "normalizers": [nested, thousand]}
    asked: dict[str, dict[str, Any]] = {
        "four replacements": {"normalizer": {"type": "Sequence", "normalizers": [thousand] * 4}},
        "sequences in sequences": {"normalizer": nested},
        "a replacement of nothing": {"normalizer": _replace({"String": ""}, "b" * 1_000)},
        "repeats of repeats": {"normalizer": _replace({"Regex": "(a+)+$"}, "")},
        "a pattern of a megabyte": {"normalizer": _replace({"Regex": "(" * MIB}, "")},
        "a count of a count": {"normalizer": _replace({"Regex": "((a{1,1000}){1,1000}){1,1000}"}, "")},
        "a text before of a megabyte": {"normalizer": {"type": "Prepend", "prepend": "x" * MIB}},
        "a decoder of replacements": {"decoder": {"type": "Sequence", "decoders": [thousand] * 4}},
        "a split of nothing": {
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False}
        },
        "a step of a kind that is none": {"pre_tokenizer": {"type": "x" * MIB}},
        "padding to 10**9": {
            "padding": {
                "strategy": {"Fixed": 10**9},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            }
        },
        "padding to a multiple of 2**40": {
            "padding": {
                "strategy": "BatchLongest",
                "direction": "Right",
                "pad_to_multiple_of": 2**40,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            }
        },
        "a token with an id of 2**31": {
            "added_tokens": [
                {
                    "id": 2**31,
                    "content": "x",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
            ]
        },
        "a million tokens around": {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"[X]": {"id": "[X]", "ids": [1] * 10**6, "tokens": ["x"] * 10**6}},
            }
        },
        "a model of nothing": {"model": {}},
        "a model of merges": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a a"] * 100_000}},
        "another version": {"version": "x" * MIB},
    }
    for name, entries in asked.items():
        yield Bomb(
            f"tokenizer, {name}",
            "reader",
            lambda f, e=entries: _changed(f, tiny_text.reader("bert"), "tokenizer.json", e),
            (*ENDS, FINE, "tokenizer-failed"),
        )
    for name, content in {
        "100 MB": lambda: b"{}" + b" " * 100 * MIB,
        "objects in objects": b'{"a":' * 200_000,
        "nothing": b"",
        "a list": b"[]",
    }.items():
        yield Bomb(
            f"tokenizer.json of {name}",
            "reader",
            lambda f, c=content: _written(f, tiny_text.reader("bert"), "tokenizer.json", c),
            ENDS,
        )
    for entry, value in {"model_max_length": 10**30, "pad_token": "x" * MIB, "tokenizer_class": "x" * MIB,
                         "additional_special_tokens": ["x"] * 100_000}.items():  # fmt: skip
        yield Bomb(
            f"tokenizer_config.json, {entry}",
            "reader",
            lambda f, e=entry, v=value: _changed(f, tiny_text.reader("bert"), "tokenizer_config.json", {e: v}),
            (*ENDS, FINE),
        )


TEMPLATES = {
    "a loop without end": "{% for i in range(10**12) %}{% endfor %}",
    "loops in loops": "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3,
    "a text of 10**10": "{{ 'a' * 10**10 }}",
    "a text that doubles": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
    "{{ n.x }}",
    "a list of 10**10": "{{ ([0] * 10**10)|length }}",
    "a number of 10**9 digits": "{{ 10**(10**9) }}",
    "a power of powers": "{{ 9**(9**(9**9)) }}",
    "a width of 10**10": "{{ '%10000000000d' % 1 }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a filter of 10**10": "{{ 'a'|center(10**10) }}",
    "a range as a list": "{{ range(10**9)|list }}",
    "brackets in brackets": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    "blocks in blocks": "{% if 1 %}" * 5_000 + "{% endif %}" * 5_000,
    "5 million letters": "a" * 5_000_000,
    "what is no template": "{% for %}",
    "Python's insides": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "a file of this machine": "{% include '/etc/passwd' %}",
    "an error of its own": "{{ raise_exception('x' * 10**6) }}",
}


def template_bombs() -> Iterator[Bomb]:
    for name, template in TEMPLATES.items():
        yield Bomb(
            f"template, {name}",
            "template",
            lambda f, t=template: _templated(f, t),
            ("template-failed", "CheckpointError"),
        )


def _templated(folder: Path, template: str) -> None:
    shutil.copytree(tiny_reading.causal(chat=True), folder, dirs_exist_ok=True)
    (folder / "chat_template.jinja").write_text(template)


def all_bombs() -> Iterator[Bomb]:
    for kind in (config_bombs, tokenizer_bombs, template_bombs):
        yield from kind()
