"""Checkpoints as small as they get, and the two ways in which tests reach them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

VIT = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
VIT_FILES = {"config.json": json.dumps(VIT), "preprocessor_config.json": "{}", "model.safetensors": b"weights"}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = json.dumps({"metadata": {}, "weight_map": {"a": SHARDS[1], "b": SHARDS[0], "c": SHARDS[1]}})
SHARDED_FILES = {
    "config.json": json.dumps(VIT),
    "model.safetensors.index.json": INDEX,
    SHARDS[0]: b"first",
    SHARDS[1]: b"second",
}


def write(folder: Path, files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, which reads its environment as a user's would."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=False, env=os.environ | environment, capture_output=True, text=True)
