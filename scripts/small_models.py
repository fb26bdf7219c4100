"""The small random model that a new task's test runs: one that the tests have already, or Transformers' smallest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST = 20_000_000
"""Parameters of a model that a test may build at its default size: that takes a second."""


@dataclass(frozen=True)
class SmallModel:
    """How a test makes the model, and the processor beside it.

    Attributes:
        arguments: those of `tests.tiny.checkpoint` after the Auto class, as Python has them; None where no model is
            known to be small.
        imports: the import line that they need.
        unread: the class of the processor, if Transformers' own runs, of which Sensorium warns; else None.
    """

    arguments: str | None = None
    imports: str = ""
    unread: str | None = None


def small_model(auto_class: Any, kind: str) -> SmallModel:
    """A small model that one of Transformers' Auto classes loads.

    Args:
        auto_class: such as `AutoModelForDepthEstimation`.
        kind: what it takes: "image", "audio" or "text".
    """
    types = list(auto_class._model_mapping._model_mapping)
    if kind == "text":
        return _of_text(types)
    return _of_audio(types) if kind == "audio" else _of_image(auto_class, types)


def _of_text(types: Sequence[str]) -> SmallModel:
    if "bert" not in types:
        return SmallModel()
    sizes = '"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32'
    return SmallModel(f'"bert", {{"vocab_size": 300, {sizes}}}, tiny_text.wordpiece()')


def _of_audio(types: Sequence[str]) -> SmallModel:
    from tests.tiny_audio import ARCHITECTURES

    for name, (model_type, _, (extractor, recipe)) in ARCHITECTURES.items():
        if model_type in types:
            settings = f'tiny_audio.ARCHITECTURES["{name}"][1]'
            called = f'"{model_type}", {settings}, {_call(extractor, recipe)}'
            return SmallModel(called, f"from transformers import {extractor}\nfrom tests import tiny_audio")
    return SmallModel()


def _of_image(auto_class: Any, types: Sequence[str]) -> SmallModel:
    from tests.tiny import ARCHITECTURES, SIZE

    for model_type in types:
        if model_type in ARCHITECTURES:
            _, processor, recipe = ARCHITECTURES[model_type]
            settings = f'tiny.ARCHITECTURES["{model_type}"][0]'
            sized = {"size": {"height": SIZE, "width": SIZE}, **recipe}
            return _with_image_processor(model_type, settings, processor, sized)
    counts = {model_type: _parameters(auto_class, model_type) for model_type in types}
    smallest = min(counts, key=lambda each: counts[each])
    processor = _image_processor(smallest)
    if counts[smallest] > LARGEST or processor is None:
        return SmallModel()
    return _with_image_processor(smallest, "{}", processor, {})


def _with_image_processor(model_type: str, settings: str, processor: str, recipe: Mapping[str, Any]) -> SmallModel:
    import transformers

    from sensorium.processors.recipe_settings import UnreadRecipe
    from sensorium.processors.recipe_transformers import read_transformers

    unread = None
    try:
        read_transformers(getattr(transformers, processor)(**recipe))
    except UnreadRecipe:
        unread = processor
    called = f'"{model_type}", {settings}, {_call(processor, recipe)}'
    return SmallModel(called, f"from transformers import {processor}", unread)


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _parameters(auto_class: Any, model_type: str) -> float:
    """How many parameters a model has at its default size; infinite where it cannot be built without more ado."""
    import torch
    from transformers import CONFIG_MAPPING

    try:
        with torch.device("meta"):
            model = auto_class.from_config(CONFIG_MAPPING[model_type]())
    except (AttributeError, ImportError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return float("inf")
    return float(sum(parameter.numel() for parameter in model.parameters()))


def _image_processor(model_type: str) -> str | None:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    named = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type) or {}
    return named.get("torchvision")
