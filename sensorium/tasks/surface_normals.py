"""surface-normals: which way the surface at each pixel of a picture faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from sensorium.checkpoints import Checkpoint
from sensorium.models.on_device import brought
from sensorium.processors.geometry import CenterCrop, Resize
from sensorium.processors.image import ImageProcessor
from sensorium.processors.image_resampling import resized_size
from sensorium.results import NormalMap
from sensorium.tasks.base import Batch, Models
from sensorium.tasks.loading import TIPSV2_HEADS, load_processor, load_transformers, processor_of
from sensorium.tasks.media.images import ImageTask

_SHORTEST = {"sapiens2": 1e-8, "tipsv2_dpt": 1e-12}
"""By model type the length below which what a model gives stays shorter than 1."""

_CANCELLED = 1e-6  # the length of a mean of unit vectors that tells no direction


class SurfaceNormals(ImageTask):
    """Unit vectors at the picture's size, as `post_process_normal_estimation` of the model's processor gives them."""

    name = "surface-normals"
    summary = "which way the surface at each pixel of a picture faces"
    models = (Models("AutoModelForNormalEstimation", only=_SHORTEST, holding=TIPSV2_HEADS),)

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        self._shortest = _SHORTEST[config.model_type]
        self._fitted = _fitted_within(self.processor)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model that gives normals."""
        from transformers import AutoModelForNormalEstimation

        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForNormalEstimation, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model that gives normals."""
        return cls(model, processor_of(model, processor))

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """`normals`, `(B, 3, h, w)`, of any length."""
        pixels = self.processor.finish(batch, dtype=self.dtype)["pixel_values"]
        return {"normals": self.model(pixel_values=pixels).normals}

    def decode(self, outputs: Any, metas: Sequence[tuple[int, int]], options: Any) -> Sequence[NDArray[np.float32]]:
        """`(H, W, 3)` unit vectors of each picture, brought to the CPU in one copy."""
        normals = normalize(outputs["normals"][: len(metas)].float(), dim=1, eps=self._shortest)
        maps = [self._at_size(each, size) for each, size in zip(normals, metas, strict=True)]
        return [np.ascontiguousarray(each.permute(1, 2, 0).numpy()) for each in brought(maps)]

    def merge(self, parts: Sequence[NDArray[np.float32]], options: Any, index: int) -> NormalMap:
        """The one picture's map."""
        return NormalMap(parts[0], index=index)

    def _at_size(self, normals: Tensor, size: tuple[int, int]) -> Tensor:
        """`(3, H, W)` without what was put around the picture; what was mixed of vectors is made of length 1."""
        if self._fitted is not None:
            normals = _without_border(normals, resized_size(*size, rule="within", size=self._fitted, multiple=1))
        large = interpolate(normals[None], size=size, mode="bilinear", align_corners=False)[0]
        length = large.norm(dim=0)
        return torch.where(length > _CANCELLED, large / length.clamp_min(_CANCELLED), 0.0)


def _fitted_within(processor: ImageProcessor) -> tuple[int, int] | None:
    """(height, width) that pictures are fitted into before a border is put around them; None where they fill it."""
    if processor.recipe is None:  # then Transformers' own runs
        settings = processor.to_dict()
        return (settings["size"]["height"], settings["size"]["width"]) if settings.get("do_pad") else None
    steps = processor.recipe.geometry
    resize = next((step for step in steps if isinstance(step, Resize)), None)
    bordered = any(isinstance(step, CenterCrop) for step in steps)
    return resize.size if resize is not None and bordered and resize.rule == "within" else None


def _without_border(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of `(C, h, w)`, of this size."""
    top, left = ((whole - side) // 2 for whole, side in zip(maps.shape[1:], size, strict=True))
    return maps[:, top : top + size[0], left : left + size[1]]
