"""The processor of a task: the checkpoint's own, or the one that the caller gave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from sensorium.checkpoints import Checkpoint, LoadOptions
from sensorium.errors import CheckpointError
from sensorium.processors.audio import AudioProcessor
from sensorium.processors.image import ImageProcessor
from sensorium.processors.text import TextProcessor
from sensorium.processors.video import VideoProcessor
from sensorium.tasks.loading.models import describe_module

P = TypeVar("P", TextProcessor, AudioProcessor, VideoProcessor)


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
    return _given_or_own(TextProcessor, processor, checkpoint, noun="tokenizer")


def load_both(processor: Any, checkpoint: Checkpoint) -> tuple[ImageProcessor, TextProcessor]:
    """Image processor and tokenizer of a model of pictures and texts: the caller's where given, or the checkpoint's."""
    texts = processor if _has_both(processor) else None
    return load_processor(processor, checkpoint), load_text_processor(texts, checkpoint)


def both_of(model: nn.Module, processor: Any) -> tuple[ImageProcessor, TextProcessor]:
    """Image processor and tokenizer for a model of pictures and texts that the caller has loaded.

    Raises:
        CheckpointError: what was given does not have both.
    """
    if not _has_both(processor):
        raise CheckpointError(
            f"{type(model).__name__} needs a processor of pictures and texts; pass processor=… (a name, a folder "
            f"or a loaded one of Transformers with both), got {type(processor).__name__}"
        )
    return load_processor(processor, None), load_text_processor(processor, None)


def _has_both(processor: Any) -> bool:
    return isinstance(processor, (str, Path)) or hasattr(processor, "tokenizer")


def check_fast(processor: TextProcessor, needed_by: str) -> None:
    """Refuses a tokenizer that cannot tell where its tokens stand.

    Args:
        processor: with the tokenizer.
        needed_by: who needs it.

    Raises:
        CheckpointError: it is a slow one.
    """
    if not getattr(processor.tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{needed_by} needs a fast tokenizer, which tells where each token stands in the text, got "
            f"{type(processor.tokenizer).__name__}. Pass processor=, with one that has a tokenizer.json."
        )


def load_audio_processor(processor: Any, checkpoint: Checkpoint | None) -> AudioProcessor:
    """The feature extractor that the caller gave (a name, a folder, a loaded one), or else the checkpoint's own.

    Raises:
        CheckpointError: there is none.
    """
    return _given_or_own(AudioProcessor, processor, checkpoint, noun="feature extractor")


def load_video_processor(processor: Any, checkpoint: Checkpoint | None) -> VideoProcessor:
    """The video processor that the caller gave (a name, a folder, a loaded one), or else the checkpoint's own.

    Raises:
        CheckpointError: there is none.
    """
    return _given_or_own(VideoProcessor, processor, checkpoint, noun="video processor")


def _given_or_own(kind: type[P], processor: Any, checkpoint: Checkpoint | None, *, noun: str) -> P:
    if processor is None and checkpoint is not None:
        return kind.from_pretrained(checkpoint)
    if isinstance(processor, kind):
        return processor
    if isinstance(processor, (str, Path)):
        access = LoadOptions() if checkpoint is None else _same_access(checkpoint.options)
        return kind.from_pretrained(processor, options=access)
    if processor is None:
        raise CheckpointError(f"a loaded model needs its {noun}; pass processor=… (a name, a folder or a loaded one)")
    return kind.from_transformers(processor)


def processor_of(model: nn.Module, processor: Any) -> ImageProcessor:
    """The processor for a model that the caller has loaded.

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
