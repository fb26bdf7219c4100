"""Which kind of model answers, and its loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.checkpoints.opening import likely_entries
from sensorium.errors import CheckpointError, TaskMismatchError
from sensorium.processors.multimodal import ChatProcessor, MultimodalProcessor
from sensorium.processors.tokenizer_files import check_tokenizer
from sensorium.tasks.answering.blip import BlipAnswering
from sensorium.tasks.answering.chat import ChatAnswering
from sensorium.tasks.answering.composite import FusionAnswering
from sensorium.tasks.answering.kinds import Answering
from sensorium.tasks.answering.vilt import ViltAnswering
from sensorium.tasks.heads import Composite
from sensorium.tasks.heads.fusion import FusionHead
from sensorium.tasks.loading import describe_module, load_transformers

_NO_CHAT = {
    "blip",
    "blip-2",
    "instructblip",
    "instructblipvideo",
    "git",
    "pix2struct",
    "vision-encoder-decoder",
    "udop",
}
"""Models older than chat templates, each with its own form of question."""


def chats(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is of a model that reads pictures with text and writes text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES

    if checkpoint.model_type in _NO_CHAT:
        return False
    classes = {name for names in NAMES.values() for name in ([names] if isinstance(names, str) else names)}
    return bool(classes.intersection(checkpoint.architectures))


def load_answering(checkpoint: Checkpoint, processor: Any) -> Answering:
    """Loads a checkpoint's model and its processors, unless they are given.

    Raises:
        CheckpointError: it cannot be used; the message says why.
    """
    if checkpoint.kind == "composite":
        return answering_for(Composite.from_pretrained(checkpoint), processor or checkpoint)
    import transformers

    visual = {"ViltForQuestionAnswering", "BlipForQuestionAnswering"}.intersection(checkpoint.architectures)
    auto = transformers.AutoModelForVisualQuestionAnswering if visual else transformers.AutoModelForImageTextToText
    loaded_processor = _chat_processor(processor or checkpoint) if not visual else _processor(processor or checkpoint)
    return answering_for(load_transformers(auto, checkpoint), loaded_processor)


def answering_for(model: nn.Module, processor: Any) -> Answering:
    """The right kind for a loaded model.

    Raises:
        TaskMismatchError: the model answers no questions about pictures.
        CheckpointError: there is no processor, or one that lacks what the model needs.
    """
    if processor is None:
        raise CheckpointError(
            f"a loaded {type(model).__name__} needs its processor; pass processor=… (a name, a folder or a loaded one "
            "with an image processor and a tokenizer)"
        )
    if isinstance(model, Composite) and isinstance(model.head, FusionHead):
        return FusionAnswering(model, _processor(processor))
    name = type(model).__name__
    if name == "ViltForQuestionAnswering":
        return ViltAnswering(model, _processor(processor))
    if name == "BlipForQuestionAnswering":
        return BlipAnswering(model, _processor(processor))
    if chats(describe_module(model)):
        return ChatAnswering(model, _chat_processor(processor))
    raise TaskMismatchError(f"{name} answers no questions about pictures")


def _processor(source: Any) -> MultimodalProcessor:
    if isinstance(source, MultimodalProcessor):
        return source
    if isinstance(source, (str, Path, Checkpoint)):
        return MultimodalProcessor.from_pretrained(source)
    return MultimodalProcessor.from_transformers(source)


def _chat_processor(source: Any) -> ChatProcessor:
    if isinstance(source, ChatProcessor):
        return source
    if not isinstance(source, (str, Path, Checkpoint)):
        return ChatProcessor.from_transformers(source)
    from transformers import AutoProcessor

    checkpoint = source if isinstance(source, Checkpoint) else resolve(source, LoadOptions())
    check_tokenizer(checkpoint.folder, of=checkpoint.name)
    try:
        processor = AutoProcessor.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=checkpoint.options.trust_remote_code
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise CheckpointError(
            f"{checkpoint.name!r} has no processor that can be loaded ({type(error).__name__}: {error})."
            f"{likely_entries(checkpoint.folder, str(error))} Pass processor=, with the name or folder of a checkpoint "
            "that has one."
        ) from error
    return ChatProcessor.from_transformers(processor)
