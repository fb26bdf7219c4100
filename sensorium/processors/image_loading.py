"""Finds the recipe of a checkpoint: in our own files, in timm's, or through Transformers' AutoImageProcessor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from sensorium.checkpoints import Checkpoint, LoadOptions
from sensorium.checkpoints.passing import passing_folder
from sensorium.errors import CheckpointError
from sensorium.processors.locating import load_auto, locate
from sensorium.processors.recipe import Recipe

_FILE_NAME, _NESTED_FILE_NAME = "preprocessor_config.json", "processor_config.json"


@dataclass(frozen=True)
class StoredRecipe:
    """How a checkpoint says that its pictures are prepared, in one of three ways; the others are None.

    Attributes:
        recipe: ours.
        timm_config: timm's entries, for `ImageProcessor.from_timm`.
        reference: a loaded Transformers image processor, for `ImageProcessor.from_transformers`.
    """

    recipe: Recipe | None = None
    timm_config: Mapping[str, Any] | None = None
    reference: Any = None


def find_recipe(place: str | PathLike[str] | Checkpoint, options: LoadOptions | None) -> StoredRecipe:
    """See `ImageProcessor.from_pretrained`."""
    name, folder, options = locate(place, options, _FILE_NAME)
    own = _read_json(folder / _FILE_NAME, of=name)
    config = _read_json(folder / "config.json", of=name)
    if "sensorium_recipe" in own or "pretrained_cfg" in own:
        return _own(own)
    # Transformers reads timm's entries first too, and timm's first configs had them at the top level.
    if "pretrained_cfg" in config or ("architecture" in config and not config.get("model_type") and not own):
        return StoredRecipe(timm_config=config.get("pretrained_cfg") or config)
    nested = _read_json(folder / _NESTED_FILE_NAME, of=name).get("image_processor")
    if not own and not nested:
        raise CheckpointError(
            f"{name!r} has no {_FILE_NAME} in {folder}, so it is not known how to prepare pictures, and a guess "
            f"would give wrong answers. Pass processor=, with the name or folder of a checkpoint that was trained in "
            f"the same way."
        )
    return _theirs(folder, options, of=name)


def recipe_in(data: Mapping[str, Any]) -> StoredRecipe:
    """See `ImageProcessor.from_dict`."""
    if "sensorium_recipe" in data or "pretrained_cfg" in data:
        return _own(data)
    with passing_folder("sensorium-recipe-") as folder:
        (folder / _FILE_NAME).write_text(json.dumps(dict(data)), encoding="utf-8")
        return _theirs(folder, LoadOptions(), of="the given recipe")


def _own(data: Mapping[str, Any]) -> StoredRecipe:
    part = "sensorium_recipe" if "sensorium_recipe" in data else "pretrained_cfg"
    if not isinstance(data[part], Mapping):
        raise CheckpointError(f"expected {part} to be a JSON object, got {data[part]!r:.200}. Save the recipe again.")
    if part == "pretrained_cfg":
        return StoredRecipe(timm_config=data[part])
    return StoredRecipe(recipe=Recipe.from_dict(data[part]))


def _theirs(folder: Path, options: LoadOptions, *, of: str) -> StoredRecipe:
    from transformers import AutoImageProcessor

    own = _read_json(folder / _FILE_NAME, of=of) or _read_json(folder / _NESTED_FILE_NAME, of=of).get("image_processor")
    # OneFormer's names of classes, for training; Transformers would fetch them from another repository.
    unread = {"class_info_file": None} if "class_info_file" in (own or {}) else {}
    loaded = load_auto(AutoImageProcessor, folder, options, of=of, kind="image processor", file=_FILE_NAME, **unread)
    return StoredRecipe(reference=loaded)


def _read_json(path: Path, *, of: str) -> dict[str, Any]:
    """A JSON object, or an empty one where there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{of!r}: {path.name} is not JSON ({error}). Repair it, or fetch it again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{of!r}: {path.name} should hold a JSON object, got a {type(value).__name__}.")
    return value
