"""Loading a task's model from a checkpoint: Transformers' Auto classes, held to what Sensorium promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from sensorium.backbones import Backbone
from sensorium.backbones.loading import load_weights
from sensorium.checkpoints import Checkpoint, LoadOptions
from sensorium.errors import CheckpointError, MissingWeightsError, TaskMismatchError, UnsafeCheckpointError
from sensorium.processors.audio import AudioProcessor
from sensorium.processors.image import ImageProcessor
from sensorium.processors.text import TextProcessor
from sensorium.tasks.heads import Composite

P = TypeVar("P", TextProcessor, AudioProcessor)


def load_transformers(auto_class: Any, checkpoint: Checkpoint, *, unused: str | None = None) -> nn.Module:
    """Loads a Transformers model with all of its weights.

    Args:
        auto_class: one of Transformers' `AutoModelFor…` classes.
        checkpoint: a resolved checkpoint; its weights are downloaded now if they are not there.
        unused: a part of the model that the task has no use for; it is taken out where its weights are missing.

    Raises:
        MissingWeightsError: the checkpoint lacks weights of the model; they would have been random.
        UnsafeCheckpointError: the model needs code of its own, and nobody allowed it.
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
            f"{checkpoint.name!r} holds no weights for {shown} of {type(model).__name__}; they would be random. "
            "Use a checkpoint that was trained for this task, or a task that this one fits."
        )
    loaded: nn.Module = model
    return loaded


def load_processor(processor: Any, checkpoint: Checkpoint | None) -> ImageProcessor:
    """The processor that the caller gave (a name, a folder, a loaded one), or else the checkpoint's own."""
    if processor is None and checkpoint is not None:
        return ImageProcessor.from_pretrained(checkpoint)
    if isinstance(processor, ImageProcessor):
        return processor
    if isinstance(processor, (str, Path)):
        access = LoadOptions() if checkpoint is None else _same_access(checkpoint.options)
        return ImageProcessor.from_pretrained(processor, options=access)
    if isinstance(processor, Mapping):
        return ImageProcessor.from_timm(processor)
    return ImageProcessor.from_transformers(getattr(processor, "image_processor", processor))


def load_text_processor(processor: Any, checkpoint: Checkpoint | None) -> TextProcessor:
    """The tokenizer that the caller gave (a name, a folder, a loaded one), or else the checkpoint's own.

    Raises:
        CheckpointError: there is none.
    """
    return _given_or_own(TextProcessor, processor, checkpoint, what="tokenizer")


def check_fast(processor: TextProcessor, what: str) -> None:
    """Refuses a tokenizer that cannot tell where its tokens stand.

    Args:
        processor: with the tokenizer.
        what: who needs it.

    Raises:
        CheckpointError: it is a slow one.
    """
    if not getattr(processor.tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{what} needs a fast tokenizer, which tells where each token stands in the text, got "
            f"{type(processor.tokenizer).__name__}. Pass processor=, with one that has a tokenizer.json."
        )


def load_audio_processor(processor: Any, checkpoint: Checkpoint | None) -> AudioProcessor:
    """The feature extractor that the caller gave (a name, a folder, a loaded one), or else the checkpoint's own.

    Raises:
        CheckpointError: there is none.
    """
    return _given_or_own(AudioProcessor, processor, checkpoint, what="feature extractor")


def _given_or_own(kind: type[P], processor: Any, checkpoint: Checkpoint | None, *, what: str) -> P:
    if processor is None and checkpoint is not None:
        return kind.from_pretrained(checkpoint)
    if isinstance(processor, kind):
        return processor
    if isinstance(processor, (str, Path)):
        access = LoadOptions() if checkpoint is None else _same_access(checkpoint.options)
        return kind.from_pretrained(processor, options=access)
    if processor is None:
        raise CheckpointError(f"a loaded model needs its {what}; pass processor=… (a name, a folder or a loaded one)")
    return kind.from_transformers(processor)


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
        known = {**config.to_dict(), "architectures": [type(model).__name__]}
        return Checkpoint(name, Path(), "transformers", known, LoadOptions())
    pretrained_cfg: Any = getattr(model, "pretrained_cfg", None)
    if isinstance(pretrained_cfg, Mapping):
        known = {"num_classes": getattr(model, "num_classes", 0), "pretrained_cfg": dict(pretrained_cfg)}
        return Checkpoint(name, Path(), "timm", known, LoadOptions())
    raise TaskMismatchError(
        f"model is a name, a folder, or a loaded Transformers, timm or Sensorium module, got {type(model).__name__}; "
        "put a backbone and a head together with sensorium.build_head()"
    )


def processor_of(model: nn.Module, processor: Any) -> ImageProcessor:
    """The processor for a model that the caller has loaded himself.

    Raises:
        CheckpointError: none was given, and the model does not bring its own.
    """
    checkpoint = describe_module(model)
    if processor is None:
        if checkpoint.kind == "timm":
            return ImageProcessor.from_timm(checkpoint.config["pretrained_cfg"])
        raise CheckpointError(
            f"{checkpoint.name} came without its processor; pass processor=… (a name, a folder or a loaded one)"
        )
    return load_processor(processor, checkpoint)


def _same_access(options: LoadOptions) -> LoadOptions:
    return LoadOptions(
        token=options.token,
        cache_dir=options.cache_dir,
        local_files_only=options.local_files_only,
        trust_remote_code=options.trust_remote_code,
    )
