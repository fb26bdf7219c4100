"""A pipeline's model and processor, written into a folder from which it can be built again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sensorium.backbones.quiet_loading import quiet_loading
from sensorium.backbones.timm_saving import save_timm
from sensorium.checkpoints import Checkpoint
from sensorium.checkpoints.sentence_transformers import read_stored
from sensorium.checkpoints.writing import checkpoint_written
from sensorium.errors import OptionError
from sensorium.pipelines.remaking import Making
from sensorium.tasks.base import Task

_BESIDE = (".json", ".txt", ".model", ".jinja", ".spm", ".bpe", ".codes")  # what stands beside weights
_TEMPLATES = "additional_chat_templates"
_RECIPES = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")


def save(task: Task, folder: str | os.PathLike[str], *, recipe: Making | None) -> None:
    """Writes what `pipeline(task, folder)` needs.

    Of a checkpoint that is its files: while it runs, a model may have lost what is not used, or hold it in other forms.
    A module that the caller has loaded is written as it is.

    Args:
        task: with its model and processor.
        folder: made if it is not there.
        recipe: how the pipeline was made; None for one made by hand.

    Raises:
        OptionError: there is nothing that a folder could hold; see `Pipeline.save_pretrained`.
    """
    model: Any = task.model
    target = Path(folder)
    checkpoint = None if recipe is None else recipe.checkpoint
    given: Any = None if recipe is None else recipe.given("processor")
    if recipe is not None and recipe.given("index") is not None:
        raise OptionError(f"{task.name} searches an index, which names its encoder; save that: index.save(folder)")
    if checkpoint is not None:
        home = checkpoint.root or checkpoint.folder
        if target.exists() and target.resolve() == home.resolve():
            raise OptionError(f"the model was loaded from {str(target)!r}; name another folder")
    elif not hasattr(model, "save_pretrained") and not hasattr(model, "pretrained_cfg"):
        raise OptionError(
            f"a loaded {type(model).__name__} cannot be loaded from a folder again; save its weights with torch, or "
            "build a head on it: build_head(…).save_pretrained(folder)"
        )
    with checkpoint_written(target) as new:
        if checkpoint is not None:
            _copy(checkpoint, new, but=target, recipes=given is None)
        if checkpoint is None or given is not None:
            saved: Any = given if hasattr(given, "save_pretrained") else task.processor
            saved.save_pretrained(new)
        if checkpoint is None and hasattr(model, "save_pretrained"):
            with quiet_loading():
                model.save_pretrained(new)
        elif checkpoint is None:
            save_timm(model, new)


def _copy(checkpoint: Checkpoint, new: Path, *, but: Path, recipes: bool) -> None:
    """Copies the weights, and what stands beside them: recipes, tokenizers, prompts, sentence-transformers' modules."""
    home = checkpoint.root or checkpoint.folder
    wanted = set(checkpoint.weights())
    modules = {home / module.path for module in read_stored(checkpoint).modules}
    for folder in {home, checkpoint.folder, home / _TEMPLATES} | modules:
        kept = (*_BESIDE, ".safetensors") if folder in modules - {home, checkpoint.folder} else _BESIDE
        wanted |= {path for path in folder.glob("*") if path.suffix in kept}
    if checkpoint.options.trust_remote_code:  # its files import each other, wherever they lie
        wanted |= {path for path in home.rglob("*.py") if not path.resolve().is_relative_to(but.resolve())}
    for path in sorted(wanted):
        inner = path.relative_to(home)
        left_out = path.name in _RECIPES and not recipes
        if path.is_file() and not left_out and not any(part.startswith(".") for part in inner.parts):
            (new / inner).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, new / inner)
