"""OWL-ViT and OWLv2: each patch of a picture is a box with a vector, which is compared with the texts' vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.processors.text import TextProcessor
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
        self._model.box_head.dense2.register_forward_hook(lambda module, given, offsets: offsets.float())

    def check(self, labels: tuple[str, ...]) -> None:
        """Refuses labels that the model cannot read."""
        self._texts.check(labels)

    def compute(self, pixels: Tensor) -> dict[str, Tensor]:
        """What depends on the picture alone: a vector, a shift, a scale and a box for each patch."""
        features = self._model.image_embedder(pixel_values=pixels)[0].flatten(1, 2)
        head = self._model.class_head
        vectors = head.dense0(features).float()
        return {
            "vectors": vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-6),
            "shift": head.logit_shift(features).float(),
            "scale": head.elu(head.logit_scale(features).float()) + 1,
            "offsets": self._model.box_head(features),
        }

    def scored(self, seen: dict[str, Tensor], labels: tuple[str, ...], device: torch.device) -> dict[str, Tensor]:
        """`logits`, `(B, N, P)` for labels and patches, and `boxes`, `(B, P, 4)` cxcywh in shares; both float32."""
        texts = self._texts.vectors(labels, device)
        fit = texts / (texts.norm(dim=-1, keepdim=True) + 1e-6) @ seen["vectors"].transpose(1, 2)
        logits = fit.add_(seen["shift"].transpose(1, 2)).mul_(seen["scale"].transpose(1, 2))
        return {"logits": logits, "boxes": (seen["offsets"] + self._bias_on(device)).sigmoid()}

    def _bias_on(self, device: torch.device) -> Tensor:
        if device not in self._on_device:
            self._on_device[device] = sent(self._bias, device)
        return self._on_device[device]
