"""Texts and pictures, or texts and sounds, as vectors of one space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError
from sensorium.processors.text import TextProcessor
from sensorium.results import Embedding
from sensorium.retrieval.encoding.media import AudioMedium, ImageMedium, Medium
from sensorium.retrieval.encoding.worded_texts import WordedTexts
from sensorium.tasks.base import Batch, Call, Fit, Task, Unit
from sensorium.tasks.base.models import classes_of
from sensorium.tasks.embedding.text_models import SHARED, SharedText, load_text_model, wrap_text_model
from sensorium.tasks.feature_extraction import FeatureExtractionOptions, TextMeta
from sensorium.tasks.loading import load_audio_processor, load_processor, load_text_processor


class SharedSpace(Task):
    """A vector of unit length for a text, a picture or a sound; both kinds may come in one stream.

    A str is always a text. A path, bytes, a file object, an array or a loaded picture is a medium; so is whatever comes
    as `{"image": …}` or `{"audio": …}`, a path or an address as a str among them. `{"text": …}` is a text. A sound that
    is longer than what the model hears at once is heard in windows, whose vectors' mean counts, each second once.
    """

    name = "shared-space"
    summary = "a text, a picture or a sound as a vector of one space"
    inputs = ("item",)
    options = FeatureExtractionOptions
    model: SharedText

    def __init__(self, model: SharedText, processor: TextProcessor, medium: Medium) -> None:
        super().__init__(model, processor)
        self.medium = medium
        self.texts = WordedTexts(model, processor)
        self.padded = {**self.texts.padded, **medium.padded}

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """Whole models of texts with pictures or sounds."""
        if checkpoint.kind != "transformers" or checkpoint.model_type not in SHARED:
            return None
        whole = classes_of("AutoModel").get(checkpoint.model_type, ())
        return "native" if set(whole).intersection(checkpoint.architectures) else None

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads the whole model with its tokenizer, and its processor of pictures or sounds."""
        hears = checkpoint.model_type == "clap"
        media: Medium = (
            AudioMedium(load_audio_processor(processor, checkpoint))
            if hears
            else ImageMedium(load_processor(processor, checkpoint))
        )
        model = load_text_model(checkpoint)
        if not isinstance(model, SharedText) or model.stored.modules[1:]:
            raise CheckpointError(
                f"{checkpoint.name!r} uses sentence-transformers' modules, which are supported here only for models of "
                "text. Use the checkpoint that it was made from."
            )
        return cls(model, load_text_processor(processor, checkpoint), media)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its processor of both kinds."""
        wrapped: Any = wrap_text_model(model)
        hears = hasattr(wrapped.model, "get_audio_features")
        media = (
            AudioMedium(load_audio_processor(processor, None))
            if hears
            else ImageMedium(load_processor(processor, None))
        )
        return cls(wrapped, load_text_processor(processor, None), media)

    def expand(self, inputs: Any) -> list[Any] | None:
        """A list is several items."""
        return list(inputs) if isinstance(inputs, list) else None

    def split(self, raw: Any, options: FeatureExtractionOptions) -> Iterable[Unit]:
        """A text's tokens, a picture, or the windows of a sound."""
        kind = self.medium.kind
        explicit = [name for name in ("text", "image", "audio") if isinstance(raw, Mapping) and name in raw]
        if len(explicit) > 1 or (explicit and explicit[0] not in ("text", kind)):
            raise InputError(
                f'expected one of {{"text": …}} and {{"{kind}": …}}, got the keys {", ".join(map(str, raw))}',
                code="unsupported-type",
            )
        value = raw[explicit[0]] if explicit else raw
        if explicit == ["text"] or (isinstance(raw, str) and not explicit):
            return self.texts.split(value, options)
        return self.medium.units(value, self.limits)

    def cost(self, unit: Unit) -> float:
        """A medium counts as one; a text costs what its tokens cost."""
        return self.texts.cost(unit) if "input_ids" in unit.inputs else 1.0

    def forward(self, batch: Batch, options: FeatureExtractionOptions, call: Call) -> Tensor:
        """`(B, D)` vectors of one kind."""
        if "input_ids" in batch:
            return self.texts.forward(batch, options, call)
        vectors: Tensor = call(self.compute, self.medium.inputs(batch, self.dtype))
        return vectors

    def compute(self, inputs: Batch) -> Tensor:
        """From the model's inputs to `(B, D)` vectors of media; this is what is compiled."""
        return self.medium.vectors(self.model.model, inputs)

    def decode(self, outputs: Tensor, metas: Sequence[Any], options: FeatureExtractionOptions) -> Sequence[Any]:
        """One `(D,)` float32 unit vector per unit, on the CPU, and its weight."""
        rows = F.normalize(outputs.float(), dim=-1).cpu()
        return list(zip(rows, metas, strict=True))

    def merge(self, parts: Sequence[Any], options: FeatureExtractionOptions, index: int) -> Embedding:
        """The vector of one item; that of several windows is brought to unit length again."""
        vector = joined(parts)
        return Embedding(vector.clone() if options.return_tensors == "pt" else vector.numpy().copy(), index=index)

    def example(self) -> str:
        """A text of ten words."""
        return "a boat on the river that runs past the mill"


class SharedPassages(SharedSpace):
    """The same for an index: the vector of an item, and how many of a text's tokens were cut off."""

    name = "shared-passages"

    def decode(self, outputs: Tensor, metas: Sequence[Any], options: FeatureExtractionOptions) -> Sequence[Any]:
        """One vector per unit, its weight, and whether it is the last of its batch."""
        last = [False] * (len(metas) - 1) + [True]
        return list(zip(super().decode(outputs, metas, options), last, strict=True))

    def merge(self, parts: Sequence[Any], options: FeatureExtractionOptions, index: int) -> Any:
        """The `(D,)` float32 NumPy vector, how many tokens were left out, and whether a batch ends with it."""
        units = [unit for unit, _ in parts]
        meta = units[0][1]
        left_out = meta.left_out if isinstance(meta, TextMeta) else 0
        return joined(units).numpy(), left_out, parts[-1][1]


def joined(parts: Sequence[tuple[Tensor, Any]]) -> Tensor:
    """The mean of windows' vectors weighted, at unit length."""
    if len(parts) == 1:
        return parts[0][0]
    weights = torch.tensor([weight for _, weight in parts])
    vectors = torch.stack([vector for vector, _ in parts])
    return F.normalize((weights[:, None] * vectors).sum(0), dim=-1)
