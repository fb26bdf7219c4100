"""Loading a task's model from a checkpoint: Transformers' Auto classes, held to what Sensorium promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sensorium.backbones import Backbone
from sensorium.backbones.weights import load_weights
from sensorium.checkpoints import Checkpoint, LoadOptions
from sensorium.errors import MissingWeightsError, TaskMismatchError, UnsafeCheckpointError
from sensorium.tasks.heads import Composite


def load_transformers(auto_class: Any, checkpoint: Checkpoint, *, unused: str | None = None) -> nn.Module:
    """Loads a Transformers model with all of its weights.

    Args:
        auto_class: one of Transformers' `AutoModelFor…` classes.
        checkpoint: a resolved checkpoint; its weights are downloaded now if they are not there.
        unused: a part of the model that the task has no use for; it is taken out where its weights are missing.

    Raises:
        MissingWeightsError: the checkpoint lacks weights of the model; they would have been random.
        UnsafeCheckpointError: the model needs its own code, which the caller did not allow.
        CheckpointError: Transformers cannot load it.
    """
    options = checkpoint.options
    if checkpoint.needs_remote_code and not options.trust_remote_code:
        raise UnsafeCheckpointError(
            f"{checkpoint.name!r} needs Python code of its own. Read it, and pass trust_remote_code=True to allow it."
        )
    checkpoint.weights()
    model, missing = load_weights(auto_class, None, checkpoint)
    if unused is not None and any(name.startswith(f"{unused}.") for name in missing):
        missing = [name for name in missing if not name.startswith(f"{unused}.")]
        setattr(model, unused, None)
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise MissingWeightsError(
            f"{checkpoint.name!r} has no weights for {shown} of {type(model).__name__}; they would be random. "
            "Use a checkpoint that was trained for this task, or a task that this one fits."
        )
    loaded: nn.Module = model
    return loaded


def describe_module(model: nn.Module) -> Checkpoint:
    """What a loaded model tells about itself, in the form in which a checkpoint on disk would.

    Raises:
        TaskMismatchError: it is neither a Transformers nor a timm model nor one of ours.
    """
    name = f"<loaded {type(model).__name__}>"
    if isinstance(model, Composite):
        return Checkpoint(name, Path(), "composite", dict(model.config), LoadOptions())
    if isinstance(model, Backbone):
        return Checkpoint(name, Path(), "backbone", dict(model.spec), LoadOptions())
    config: Any = getattr(model, "config", None)
    if hasattr(config, "to_dict"):
        described = {**config.to_dict(), "architectures": [type(model).__name__]}
        return Checkpoint(name, Path(), "transformers", described, LoadOptions())
    pretrained_cfg: Any = getattr(model, "pretrained_cfg", None)
    if isinstance(pretrained_cfg, Mapping):
        described = {"num_classes": getattr(model, "num_classes", 0), "pretrained_cfg": dict(pretrained_cfg)}
        return Checkpoint(name, Path(), "timm", described, LoadOptions())
    raise TaskMismatchError(
        f"model is a name, a folder, or a loaded Transformers, timm or Sensorium module, got {type(model).__name__}; "
        "put a backbone and a head together with sensorium.build_head()"
    )
