"""What the rows of a job are made with: the model's files, and the versions of what runs it."""

from __future__ import annotations

import hashlib
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sensorium.checkpoints import Checkpoint

LIBRARIES = ("sensorium", "torch", "torchvision", "torchaudio", "transformers", "timm", "numpy", "pillow", "pyarrow")


def model_facts(checkpoint: Checkpoint | None, processor: str | None) -> dict[str, Any]:
    """The model's revision, the SHA-256 of each file with weights, and one digest of all files that count.

    Args:
        checkpoint: what the model was loaded from, if it was.
        processor: the name or folder that the processor is taken from instead.
    """
    if checkpoint is None:
        return {"checkpoint": None, "revision": None, "weights": {}}
    weights, whole = {path.name: _digest_of(path) for path in checkpoint.weights()}, hashlib.sha256()
    for digest in (*weights.values(), *map(_digest_of, _further_files(checkpoint, processor))):
        whole.update(bytes.fromhex(digest))
    return {"checkpoint": whole.hexdigest(), "revision": checkpoint.revision, "weights": weights}


def versions() -> dict[str, str]:
    """Of Python, and of the libraries that the results come from."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _further_files(checkpoint: Checkpoint, processor: str | None) -> list[Path]:
    """Configuration, and what else a folder says of how inputs are read."""
    places = [checkpoint.folder, checkpoint.root or checkpoint.folder]
    places += [Path(processor)] if processor is not None and Path(processor).is_dir() else []
    return sorted({path for place in places for path in (*place.glob("*.*"), *place.glob("*/*.*")) if _is_small(path)})


def _is_small(path: Path) -> bool:
    return path.suffix in (".json", ".txt", ".model", ".jinja", ".py") and path.is_file()


def _digest_of(path: Path) -> str:
    """A file's SHA-256. A file in the Hub's cache is the link to one that is named by it."""
    if named := re.fullmatch(r"[0-9a-f]{64}", path.resolve().name):
        return named[0]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
