"""Reading `config.json` and similar files from a folder that is not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from sensorium.errors import CheckpointError

Kind = Literal["transformers", "timm", "composite", "backbone"]

MAX_JSON_BYTES = 16 * 2**20  # ImageNet-22k's labels take 2 MB; a larger config is a mistake or an attack


def read_config(folder: Path, *, of: str) -> dict[str, Any]:
    """The `config.json` in a folder, with the types of the entries that everything relies on checked.

    Args:
        folder: it must hold a `config.json`.
        of: the checkpoint's name, for the errors.

    Raises:
        CheckpointError: it cannot be read, is too large, is not a JSON object, or has entries of a wrong type.
    """
    config = read_json(folder / "config.json", of=of)
    architectures, model_type = config.get("architectures"), config.get("model_type")
    if architectures is not None and not (
        isinstance(architectures, list) and all(isinstance(one, str) for one in architectures)
    ):
        raise CheckpointError(
            f"{of!r}: architectures in config.json should be a list of class names, got {_brief(architectures)}. "
            f"Correct that entry."
        )
    if model_type is not None and not isinstance(model_type, str):
        raise CheckpointError(
            f"{of!r}: model_type in config.json should be a name, got {_brief(model_type)}. Correct that entry."
        )
    return config


def kind_of(config: dict[str, Any]) -> Kind:
    """Which library's checkpoint a config describes."""
    if "sensorium" in config:
        return "composite"
    has_recipe = "pretrained_cfg" in config or "architectures" not in config  # timm's first configs were flat
    return "timm" if "architecture" in config and not config.get("model_type") and has_recipe else "transformers"


def read_json(path: Path, *, of: str) -> dict[str, Any]:
    """A JSON object from a file of at most `MAX_JSON_BYTES`.

    Raises:
        CheckpointError: it cannot be read, is too large, or is not a JSON object.
    """
    value = parse_json(path, of=of)
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{of!r}: {path.name} should hold a JSON object, got {_brief(value)}. Repair it, or get the "
            f"checkpoint again from its source."
        )
    return value


def parse_json(path: Path, *, of: str) -> Any:
    """What a JSON file of at most `MAX_JSON_BYTES` holds.

    Raises:
        CheckpointError: it cannot be read, is too large, or is not JSON.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{of!r}: {path.name} cannot be read ({error}). Check the file {path}.") from error
    if len(text) > MAX_JSON_BYTES:
        raise CheckpointError(
            f"{of!r}: {path.name} should be at most {MAX_JSON_BYTES // 2**20} MiB, and is larger. It is damaged or "
            f"not a configuration; get the checkpoint again from its source."
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{of!r}: {path.name} should be JSON, and is not ({type(error).__name__}: {error}). Repair it, or get the "
            f"checkpoint again from its source."
        ) from error


def _brief(value: Any) -> str:
    text = repr(value)
    return f"the {type(value).__name__} {text if len(text) <= 80 else text[:77] + '…'}"
