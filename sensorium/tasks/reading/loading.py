"""Which kind of reader a checkpoint is, and its loading."""

from __future__ import annotations

from typing import Any

from torch import nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import TaskMismatchError
from sensorium.tasks.base import Fit
from sensorium.tasks.loading import check_fast, describe_module, load_text_processor, load_transformers
from sensorium.tasks.question_answering import QuestionAnswering
from sensorium.tasks.reading.extractive import DprReader, SpanReader
from sensorium.tasks.reading.generating import GeneratingReader
from sensorium.tasks.reading.reader import Reader


def fit_of(checkpoint: Checkpoint) -> Fit:
    """DPR's readers were made for this; models of question answering and models that write can do it."""
    kind = _kind(checkpoint)
    return None if kind is None else "native" if kind is DprReader else "possible"


def load_reader(checkpoint: Checkpoint, processor: Any) -> Reader:
    """Loads a checkpoint's model and its tokenizer, unless one is given.

    Raises:
        CheckpointError: it cannot be used; the message says why.
    """
    import transformers

    kind = _kind(checkpoint)
    if kind is GeneratingReader:
        encodes = checkpoint.config.get("is_encoder_decoder") or set(checkpoint.architectures) & _sequence_classes()
        auto: Any = transformers.AutoModelForSeq2SeqLM if encodes else transformers.AutoModelForCausalLM
    else:
        auto = transformers.DPRReader if kind is DprReader else transformers.AutoModelForQuestionAnswering
    loaded_processor = load_text_processor(processor, checkpoint)
    return reader_for(load_transformers(auto, checkpoint), loaded_processor)


def reader_for(model: nn.Module, processor: Any) -> Reader:
    """The right kind for a loaded model.

    Raises:
        TaskMismatchError: the model reads no passages.
        CheckpointError: there is no tokenizer, or one that cannot tell where its tokens stand.
    """
    kind = _kind(describe_module(model))
    if kind is None:
        raise TaskMismatchError(f"{type(model).__name__} reads no passages")
    loaded_processor = load_text_processor(processor, None)
    if kind is not GeneratingReader:
        check_fast(loaded_processor, f"retrieval-qa with {type(model).__name__}")
    return kind(model, loaded_processor)


def _kind(checkpoint: Checkpoint) -> type[DprReader] | type[SpanReader] | type[GeneratingReader] | None:
    if checkpoint.kind != "transformers":
        return None
    architectures = set(checkpoint.architectures)
    if "DPRReader" in architectures:
        return DprReader
    if QuestionAnswering.fits(checkpoint):
        return SpanReader
    return GeneratingReader if architectures & (_causal_classes() | _sequence_classes()) else None


def _causal_classes() -> set[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    return _classes(NAMES)


def _sequence_classes() -> set[str]:
    """Those that read text; some of Transformers' list listen instead."""
    from transformers.models.auto import modeling_auto as auto

    names = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    audible = {*auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES, *auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES}
    return _classes({model_type: name for model_type, name in names.items() if model_type not in audible})


def _classes(names: Any) -> set[str]:
    return {name for entry in names.values() for name in ([entry] if isinstance(entry, str) else entry)}
