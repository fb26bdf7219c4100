"""Reading a config.json that may be anything."""

from __future__ import annotations

import json

import pytest

from sensorium.checkpoints import LoadOptions, resolve
from sensorium.checkpoints.config import MAX_JSON_BYTES
from sensorium.errors import (
    CheckpointError,
    CheckpointNotFoundError,
)

from .folders import VIT_FILES, python, write


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "should be JSON"),
        (b'{"model_type": ', "should be JSON"),
        (b"\xff\xfe\x00", "should be JSON"),
        (b"[" * 200_000, "should be JSON"),
        (b"9" * 10_000, "should be JSON"),
        (b"[]", "should hold a JSON object, got the list"),
        (b'"vit"', "should hold a JSON object, got the str"),
        (b"null", "should hold a JSON object"),
        (b" " * (MAX_JSON_BYTES + 1), "at most 16 MiB"),
        (
            b'{"architectures": "ViT"}',
            "architectures in config.json should be a list of class names, got the str 'ViT'",
        ),
        (b'{"architectures": [1]}', "architectures in config.json should be"),
        (b'{"model_type": ["vit"]}', "model_type in config.json should be a name"),
    ],
    ids=["empty", "cut", "binary", "deep", "digits", "list", "text", "null", "huge", "types", "types2", "types3"],
)
def test_a_broken_config_is_told_from_a_missing_one(tmp_path, text, says):
    write(tmp_path / "tiny", {"config.json": text})
    with pytest.raises(CheckpointError, match=says) as caught:
        resolve(tmp_path / "tiny")
    assert not isinstance(caught.value, CheckpointNotFoundError)
    assert "tiny" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "vit"}, "transformers"),
        ({}, "transformers"),
        ({"architectures": ["SomeNet"], "architecture": "x"}, "transformers"),
        ({"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {}}, "timm"),
        ({"architecture": "resnet18", "num_classes": 3, "mean": [0, 0, 0]}, "timm"),
        ({"architecture": "resnet18", "model_type": "timm_wrapper", "pretrained_cfg": {}}, "transformers"),
        ({"sensorium": {"format": 1}, "architectures": ["X"]}, "composite"),
        ({"sensorium": {"format": 1}, "architecture": "resnet18", "pretrained_cfg": {}}, "composite"),
    ],
)
def test_the_kind_is_read_from_the_config(tmp_path, config, kind):
    write(tmp_path / "tiny", {"config.json": json.dumps(config)})
    assert resolve(tmp_path / "tiny").kind == kind


@pytest.mark.parametrize(
    ("config", "needs"),
    [
        ({"model_type": "vit"}, False),
        ({"model_type": "vit", "auto_map": {"AutoModel": "modeling.Net"}}, False),
        ({"model_type": "nobody-knows", "auto_map": {"AutoModel": "modeling.Net"}}, True),
        ({"auto_map": {"AutoModel": "modeling.Net"}}, True),
    ],
)
def test_code_is_needed_only_where_transformers_does_not_know_the_model(tmp_path, config, needs):
    write(tmp_path / "tiny", {"config.json": json.dumps(config)})
    assert resolve(tmp_path / "tiny").needs_remote_code is needs


def test_a_local_checkpoint_loads_no_heavy_library(tmp_path):
    write(tmp_path / "tiny", VIT_FILES)
    script = f"""
import sys
from sensorium.checkpoints import resolve
resolve({str(tmp_path / "tiny")!r}).weights()
print(sorted({{"torch", "transformers", "timm", "huggingface_hub", "numpy"}} & set(sys.modules)))
"""
    assert python(script).stdout.strip() == "[]"


def test_a_token_is_not_in_the_repr():
    assert "hf_secret" not in repr(LoadOptions(token="hf_secret"))
