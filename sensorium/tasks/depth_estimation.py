"""depth-estimation: how far away each pixel of a picture is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import InputError, OptionError
from sensorium.models.on_device import brought, sent
from sensorium.models.zoedepth import has_domains, zoedepth
from sensorium.processors.borders import PadReflected
from sensorium.processors.geometry import Resize
from sensorium.processors.image import ImageProcessor
from sensorium.processors.media import is_batch
from sensorium.results import DepthMap
from sensorium.tasks.base import Batch, Models, Options, Unit
from sensorium.tasks.depth.maps import FAMILIES, DepthFrame, focal_lengths, from_inverse, resized, unpadded
from sensorium.tasks.depth.prompts import read_prompt
from sensorium.tasks.loading import TIPSV2_HEADS, load_processor, load_transformers, processor_of
from sensorium.tasks.media.images import ImageTask, image_unit
from sensorium.tasks.options import Range


@dataclass(frozen=True)
class DepthEstimationOptions(Options):
    """The options of a call.

    Attributes:
        focal_length: of the camera, px of the picture; for Depth Pro, which else estimates it. None for its estimate.
    """

    focal_length: Annotated[float | None, Range(above=0, unit="px", none="the model's own estimate")] = None


class _DepthPart(NamedTuple):
    """What a `DepthMap` is made of."""

    depth: NDArray[np.float32]
    metric: bool
    field_of_view: float | None = None
    focal_length: float | None = None


class DepthEstimation(ImageTask):
    """Depths of every pixel, as Transformers' pipeline of the same name gives them."""

    name = "depth-estimation"
    summary = "how far away each pixel of a picture is"
    inputs = ("image",)
    optional_inputs = ("prompt_depth",)
    options = DepthEstimationOptions
    models = (Models("AutoModelForDepthEstimation", only=FAMILIES, holding=TIPSV2_HEADS),)
    default = "Intel/dpt-large@bc15f29"

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        self._family = FAMILIES[config.model_type]
        told = self._family.metric
        self._metric = config.depth_estimation_type == "metric" if told is None else told
        self._routed = self._family.routed and has_domains(model)
        self._border = _border_of(self.processor) if self._family.routed else None
        self._mode = _mode_of(self.processor) if self._family.inverse else self._family.mode

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model with its depth head."""
        from transformers import AutoModelForDepthEstimation

        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForDepthEstimation, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its depth head."""
        return cls(model, processor_of(model, processor))

    def check(self, options: DepthEstimationOptions) -> None:
        """Refuses a focal length that the model has no use for."""
        if options.focal_length is not None and not self._family.inverse:
            raise OptionError(f"focal_length has no effect on {type(self.model).__name__}; leave it out")

    def combine(self, named: Mapping[str, Any]) -> Any:
        """One picture with its prompt, which may be a list of rows; for several pictures, a list of prompts."""
        if "image" not in named:
            raise OptionError(f"{self.name} needs an image with its {' and '.join(named)}")
        image, prompts = named["image"], named.get("prompt_depth")
        if prompts is None:
            return image
        if not is_batch(image):
            return dict(named)
        if not isinstance(prompts, (list, tuple)) or len(prompts) != len(image):
            raise OptionError(f"for {len(image)} pictures prompt_depth is a list of as many, with None for one without")
        rows = zip(image, prompts, strict=True)
        return [one if prompt is None else {"image": one, "prompt_depth": prompt} for one, prompt in rows]

    def split(self, raw: Any, options: Any) -> Iterable[Unit]:
        """Decodes and fits the picture, and reads its prompt; `meta` is what `decode` has to know of both."""
        named = raw if isinstance(raw, Mapping) else {"image": raw}
        if "image" not in named or set(named) - {"image", "prompt_depth"}:
            raise InputError(
                f"an input has the keys image and, as needed, prompt_depth; got {', '.join(map(str, named)) or 'none'}",
                code="bad-prompt" if "image" in named else "no-image",
            )
        unit = image_unit(named["image"], self.processor, self.limits)
        unit.meta = DepthFrame(unit.meta)
        if named.get("prompt_depth") is None:
            return [unit]
        if not self._family.prompted:
            raise InputError(f"{type(self.model).__name__} takes no prompt_depth; leave it out", code="bad-prompt")
        scale = float(self.processor.to_dict().get("prompt_scale_to_meter", 0.001))
        prompt = read_prompt(named["prompt_depth"], scale=scale, max_pixels=self.limits.max_pixels)
        frame = unit.meta._replace(low=prompt.low, span=prompt.span)
        return [Unit({**unit.inputs, "prompt_depth": prompt.shares}, frame)]

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """`depth`, `(B, h, w)`, as the model gives it; and `field_of_view`, `(B,)` degrees, where it gives one."""
        inputs = self.processor.finish(batch, dtype=self.dtype)
        if self._routed:
            return {"depth": zoedepth(self.model, inputs["pixel_values"])}
        if "prompt_depth" in inputs:
            inputs["prompt_depth"] = inputs["prompt_depth"].to(self.dtype)
        output = self.model(**inputs)
        angles = getattr(output, "field_of_view", None)
        return {"depth": output.predicted_depth} | ({} if angles is None else {"field_of_view": angles})

    def decode(
        self, outputs: Any, metas: Sequence[DepthFrame], options: DepthEstimationOptions
    ) -> Sequence[_DepthPart]:
        """The arguments of a `DepthMap` for each picture, brought to the CPU in one copy."""
        depths = outputs["depth"][: len(metas)]
        if self._family.inverse:
            return self._from_inverse(depths.float(), outputs.get("field_of_view"), metas, options)
        maps = [self._resized(depth, frame) for depth, frame in zip(depths, metas, strict=True)]
        told = [self._metric or frame.low is not None for frame in metas]
        return [_DepthPart(_array(each), metric) for each, metric in zip(brought(maps), told, strict=True)]

    def merge(self, parts: Sequence[_DepthPart], options: Any, index: int) -> DepthMap:
        """The one picture's map."""
        return DepthMap(*parts[0], index=index)

    def _resized(self, depth: Tensor, frame: DepthFrame) -> Tensor:
        if self._border is not None:
            return unpadded(depth, frame, self._border, self._mode)
        return resized(depth, frame, self._mode, align_corners=self._family.align_corners)

    def _from_inverse(
        self, inverse: Tensor, angles: Tensor | None, metas: Sequence[DepthFrame], options: DepthEstimationOptions
    ) -> list[_DepthPart]:
        """Depth Pro's, scaled by the camera's focal length: as given, as estimated, or else the picture's width."""
        given = options.focal_length
        widths = sent([frame.size[1] for frame in metas], inverse.device, torch.float32)
        if given is not None:
            focal = torch.full_like(widths, given)
        else:
            focal = widths if angles is None else focal_lengths(angles[: len(metas)].float(), widths)
        scaled = inverse * widths[:, None, None] / focal[:, None, None]
        maps = [from_inverse(resized(each, frame, self._mode)) for each, frame in zip(scaled, metas, strict=True)]
        *found, pixels = brought([*maps, focal])
        if given is None and angles is None:
            return [_DepthPart(_array(each), metric=True) for each in found]
        rows = zip(found, pixels.tolist(), metas, strict=True)
        return [_DepthPart(_array(each), True, *_camera(px, frame.size[1])) for each, px, frame in rows]


def _array(depth: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(depth.numpy())


def _camera(focal_length: float, width: int) -> tuple[float | None, float | None]:
    """The field of view in degrees and the focal length in px; None for no camera's, as an untrained model may tell."""
    if not 0 < focal_length < math.inf:
        return None, None
    return math.degrees(2 * math.atan(width / 2 / focal_length)), focal_length


def _border_of(processor: ImageProcessor) -> PadReflected | None:
    """What ZoeDepth's processor mirrors around pictures."""
    if processor.recipe is None:
        return PadReflected() if processor.to_dict().get("do_pad", True) else None
    return next((step for step in processor.recipe.geometry if isinstance(step, PadReflected)), None)


def _mode_of(processor: ImageProcessor) -> str:
    """The kernel of Depth Pro's processor, which resizes depths as it does pictures."""
    steps = () if processor.recipe is None else processor.recipe.geometry
    mode = next((step.mode for step in steps if isinstance(step, Resize)), "bilinear")
    return "nearest-exact" if mode == "nearest" else mode
