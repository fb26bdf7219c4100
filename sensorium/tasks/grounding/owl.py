"""OWL-ViT and OWLv2: each patch of a picture is a box with a vector, which is compared with the texts' vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.processors.text import TextProcessor
from sensorium.tasks.grounding.box_scores import BoxScores
from sensorium.tasks.texts.label_texts import LabelTexts


class Owl:
    """Boxes of patches, and how well each label's text fits each of them.

    Args:
        model: Transformers' OwlViTForObjectDetection or Owlv2ForObjectDetection.
        text_processor: its tokenizer.
    """

    def __init__(self, model: Any, text_processor: TextProcessor) -> None:
        self._model = model
        self._base: Any = next(getattr(model, name) for name in ("owlvit", "owlv2") if hasattr(model, name))
        self._texts = LabelTexts(self._base, text_processor)
        # float32, as bfloat16 next to 1 has steps of 1/256 of the picture
        rows, columns = self._model.num_patches_height, self._model.num_patches_width
        self._bias = self._model.compute_box_bias(rows, columns).float()
        self._on_device: dict[torch.device, Tensor] = {}

    def check(self, labels: tuple[str, ...]) -> None:
        """Refuses labels that the model cannot read."""
        self._texts.check(labels)

    def firsts(self, labels: tuple[str, ...]) -> list[int]:
        """The number of the first label of each text: there is one, in a way."""
        return [0]

    def found(self, run: Callable[..., dict[str, Tensor]], labels: tuple[str, ...], device: torch.device) -> BoxScores:
        """What lies in each patch, for all labels at once; their texts are encoded once."""
        seen, texts = run(), self._texts.vectors(labels, device)
        fit = texts / (texts.norm(dim=-1, keepdim=True) + 1e-6) @ seen["vectors"].transpose(1, 2)
        logits = fit.add_(seen["shift"].transpose(1, 2)).mul_(seen["scale"].transpose(1, 2))
        return BoxScores(logits[:, None], (seen["offsets"] + self._bias_on(device)).sigmoid()[:, None])

    def compute(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What depends on the picture alone: a vector, a shift, a scale and a box for each patch."""
        features = self._model.image_embedder(pixel_values=inputs["pixel_values"])[0].flatten(1, 2)
        head = self._model.class_head
        vectors = head.dense0(features).float()
        return {
            "vectors": vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-6),
            "shift": head.logit_shift(features).float(),
            "scale": head.elu(head.logit_scale(features).float()) + 1,
            "offsets": self._model.box_head(features).float(),
        }

    def _bias_on(self, device: torch.device) -> Tensor:
        if device not in self._on_device:
            self._on_device[device] = sent(self._bias, device)
        return self._on_device[device]
