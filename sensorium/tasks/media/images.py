"""What the tasks share whose input is one picture."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.models.attention_masks import unread_masks
from sensorium.models.relative_places import keep_relative_places
from sensorium.processors.image import ImageProcessor
from sensorium.processors.media import MediaLimits, load_image
from sensorium.tasks.base import Batch, Call, Task, Unit

_USUAL_PX = 512 * 512


class ImageTask(Task):
    """One picture, one unit: decoded and fitted on a thread, rescaled and normalised with the model's own pass."""

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        keep_relative_places(model)

    def split(self, raw: Any, options: Any) -> Iterable[Unit]:
        """Decodes the picture and brings it to the size that the model takes; `meta` is (height, width) before."""
        return [image_unit(raw, self.processor, self.limits)]

    def cost(self, unit: Unit) -> float:
        """Of more than 512 by 512 px more than one: several of them only fall out of a CPU's caches together."""
        sides = [tensor.shape[-2:] for tensor in unit.inputs.values() if tensor.ndim >= 3]
        return max(1.0, *(height * width / _USUAL_PX for height, width in sides)) if sides else 1.0

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Runs `compute` in one call."""
        return call(self.compute, batch)

    @abstractmethod
    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """From fitted pixels to outputs; tensors only, so that it can be compiled."""

    def example(self) -> Tensor:
        """A grey gradient of 375 by 500 px, `(3, 375, 500)` uint8."""
        return torch.linspace(0, 255, 500).to(torch.uint8).expand(3, 375, 500).contiguous()


def image_unit(raw: Any, processor: ImageProcessor, limits: MediaLimits) -> Unit:
    """A picture at the size that the model takes; `meta` is (height, width) before.

    Raises:
        InputError: it cannot be read or fitted.
    """
    image = load_image(raw, limits=limits)
    return fitted_unit(image, processor, tuple(image.shape[1:]))


def fitted_unit(image: Tensor, processor: ImageProcessor, meta: Any) -> Unit:
    """A decoded picture, `(3, H, W)`, or a part of one, at the size that the model takes.

    Raises:
        InputError: it cannot be fitted.
    """
    return Unit({name: _channels_last(tensor) for name, tensor in processor.fit(image).items()}, meta)


def is_unpadded(processor: ImageProcessor) -> bool:
    """Whether no picture of a batch has padding: those of one shape share it. False where that is not known."""
    recipe = processor.recipe
    return recipe is not None and recipe.pad_to is None and recipe.patches is None


def image_features(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """`(B, D)`, a picture's vector in the space that it shares with texts, not of unit length.

    Args:
        model: one of Transformers with `get_image_features`.
        inputs: what its image processor gives.
    """
    takes = inspect.signature(model.get_image_features).parameters
    with unread_masks(inputs["pixel_values"].device):
        features = model.get_image_features(**{name: tensor for name, tensor in inputs.items() if name in takes})
    return features if isinstance(features, Tensor) else features.pooler_output


def _channels_last(tensor: Tensor) -> Tensor:
    """The same picture, laid out in memory as decoders give it: one layout, so one compiled graph."""
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        return tensor
    return tensor.permute(1, 2, 0).contiguous().permute(2, 0, 1)
