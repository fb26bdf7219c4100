"""zero-shot-image-classification: which of the labels named in the call a picture shows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import OptionError
from sensorium.models.on_device import brought
from sensorium.processors.image import ImageProcessor
from sensorium.processors.text import TextProcessor
from sensorium.results import Labels
from sensorium.tasks.base import Batch, Call, Models, Options
from sensorium.tasks.loading import both_of, load_both, load_transformers
from sensorium.tasks.media.images import ImageTask, image_features
from sensorium.tasks.texts.label_names import checked_labels
from sensorium.tasks.texts.label_texts import LabelTexts

MODELS = frozenset(["align", "altclip", "chinese_clip", "clip", "metaclip_2", "siglip", "siglip2", "tipsv2"])
"""Model types that compare one vector of a picture with one of a text."""

SIGLIP_LENGTH = 64
"""SigLIP was trained on texts padded to this many tokens, without a mask."""


@dataclass(frozen=True)
class ZeroShotImageClassificationOptions(Options):
    """The options of a call.

    Attributes:
        candidate_labels: the labels to choose from; at least one.
        hypothesis_template: the text that is compared with the picture, `{}` standing for a label.
    """

    candidate_labels: tuple[str, ...] = ()
    hypothesis_template: str = "This is a photo of {}."

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "candidate_labels", checked_labels(self.candidate_labels))
        try:
            alike = self.hypothesis_template.format("a") == self.hypothesis_template.format("b")
        except (LookupError, ValueError, AttributeError) as error:
            raise OptionError(
                f"hypothesis_template is a text with {{}} for the label, got {self.hypothesis_template!r}"
            ) from error
        if alike:
            raise OptionError(f"hypothesis_template lacks {{}}, for the label, got {self.hypothesis_template!r}")

    @functools.cached_property
    def texts(self) -> tuple[str, ...]:
        """What is compared with a picture, a text a label."""
        return tuple(self.hypothesis_template.format(label) for label in self.candidate_labels)


class ZeroShotImageClassification(ImageTask):
    """Labels of your own with scores, as Transformers' pipeline of the same name gives them."""

    name = "zero-shot-image-classification"
    summary = "which of the labels named in the call a picture shows"
    options = ZeroShotImageClassificationOptions
    models = (Models("AutoModelForZeroShotImageClassification", only=MODELS),)
    default = "openai/clip-vit-base-patch32@3d74acf"
    model: Any

    def __init__(self, model: nn.Module, processor: ImageProcessor, text_processor: TextProcessor) -> None:
        super().__init__(model, processor)
        self.text_processor = text_processor
        self.on_host = frozenset(["spatial_shapes"])  # of SigLIP 2, which asks how many patches a picture has
        self._sigmoid = "siglip" in self.model.config.model_type
        self._texts = LabelTexts(model, text_processor, length=SIGLIP_LENGTH if self._sigmoid else None)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model with its image processor and tokenizer."""
        from transformers import AutoModelForZeroShotImageClassification

        both = load_both(processor, checkpoint)
        return cls(load_transformers(AutoModelForZeroShotImageClassification, checkpoint), *both)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its processor, which has an image processor and a tokenizer."""
        return cls(model, *both_of(model, processor))

    def check(self, options: ZeroShotImageClassificationOptions) -> None:
        """Refuses a call without labels, or with labels that the model cannot read."""
        if not options.candidate_labels:
            raise OptionError(f'{self.name} needs labels to choose from: candidate_labels=["cat", "dog"]')
        self._texts.check(options.texts)

    def forward(self, batch: Batch, options: ZeroShotImageClassificationOptions, call: Call) -> dict[str, Tensor]:
        """`{"logits": (B, N)}` float32; the labels' texts are encoded on their first use, and kept."""
        images = call(self.compute, batch)["features"].float()
        images = images / images.norm(dim=-1, keepdim=True)
        logits = images @ self._texts.vectors(options.texts, self.runtime.device).T
        if hasattr(self.model, "temperature"):
            return {"logits": logits / self.model.temperature.float()}
        logits = logits * self.model.logit_scale.float().exp()
        bias = getattr(self.model, "logit_bias", None)
        return {"logits": logits if bias is None else logits + bias.float()}

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """`{"features": (B, D)}` in the model's dtype; this is what is compiled."""
        return {"features": image_features(self.model, self.processor.finish(batch, dtype=self.dtype))}

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """Scores in float32, sorted; one `(scores, ids)` pair of NumPy arrays per picture."""
        logits = outputs["logits"]
        scores = logits.sigmoid() if self._sigmoid else logits.softmax(-1)
        scores, ids = brought(scores.sort(dim=-1, descending=True, stable=True))
        return list(zip(scores.numpy(), ids.numpy(), strict=True))

    def merge(self, parts: Sequence[Any], options: ZeroShotImageClassificationOptions, index: int) -> Labels:
        """All labels, best first; `ids` are their places in `candidate_labels`."""
        scores, ids = parts[0]
        return Labels(_array(options.candidate_labels)[ids], scores.copy(), ids.copy(), index=index)


@functools.lru_cache(maxsize=8)
def _array(labels: tuple[str, ...]) -> NDArray[np.str_]:
    return np.asarray(labels, dtype=np.str_)
