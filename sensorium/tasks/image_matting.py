"""image-matting: how much of each pixel of a picture belongs to what is in front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError, OptionError
from sensorium.models.on_device import brought
from sensorium.models.vitdet import attend_in_parts
from sensorium.processors.geometry import Resize
from sensorium.processors.image import ImageProcessor
from sensorium.processors.media import describe, load_image
from sensorium.results import AlphaMatte
from sensorium.tasks.base import Batch, Models, Options, Unit
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.matting.trimaps import read_trimap, trimap_of_mask
from sensorium.tasks.media.images import ImageTask, fitted_unit
from sensorium.tasks.options import Natural

_GUIDES = ("trimap", "mask")
_USUAL_PX = 512 * 512  # what the batch sizes are for that the engine tries


@dataclass(frozen=True)
class ImageMattingOptions(Options):
    """The options of a call.

    Attributes:
        unknown_px: how far from the outline of a `mask`, inside and outside, it is to be found out what is in front,
            px; a `trimap` says so itself.
    """

    unknown_px: Natural = 10


class _MattePart(NamedTuple):
    """What an `AlphaMatte` is made of."""

    alpha: NDArray[np.float32]
    foreground: NDArray[np.float32] | None


class ImageMatting(ImageTask):
    """Alpha mattes, as Transformers' model gives them of its processor's pictures, at the picture's size."""

    name = "image-matting"
    summary = "how much of each pixel belongs to what is in front"
    inputs = ("image",)
    optional_inputs = _GUIDES
    options = ImageMattingOptions
    models = (Models("AutoModelForImageMatting", only=("sapiens2", "vitmatte")),)

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        self._guided = config.model_type == "vitmatte"
        _check_processor(self.processor, guided=self._guided)
        settings = self.processor.to_dict()
        self._factor = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
        attend_in_parts(model)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model that gives alpha mattes."""
        from transformers import AutoModelForImageMatting

        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForImageMatting, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model that gives alpha mattes."""
        return cls(model, processor_of(model, processor))

    def check(self, options: ImageMattingOptions) -> None:
        """Refuses a width for masks that the model does not take."""
        if not self._guided and options.unknown_px != ImageMattingOptions.unknown_px:
            raise OptionError(f"unknown_px has no effect on {type(self.model).__name__}; leave it out")

    def split(self, raw: Any, options: ImageMattingOptions) -> Iterable[Unit]:
        """Decodes the picture and what is known of it; `meta` is (height, width)."""
        named = raw if isinstance(raw, Mapping) else {"image": raw}
        if "image" not in named or set(named) - {"image", *_GUIDES}:
            raise InputError(
                f"an input has the keys image, and trimap or mask; got {', '.join(map(str, named)) or 'none'}",
                code="bad-trimap" if "image" in named else "no-image",
            )
        guides = {name: named[name] for name in _GUIDES if named.get(name) is not None}
        self._check_guides(named["image"], guides, options)
        image = load_image(named["image"], limits=self.limits)
        size = (image.shape[1], image.shape[2])
        unit = fitted_unit(image, self.processor, size)
        if "trimap" in guides:
            unit.inputs["trimap"] = read_trimap(guides["trimap"], size, self.limits)
        elif "mask" in guides:
            width = options.unknown_px
            unit.inputs["trimap"] = trimap_of_mask(guides["mask"], size, self.limits, unknown_px=width)
        return [unit]

    def _check_guides(self, image: Any, guides: Mapping[str, Any], options: ImageMattingOptions) -> None:
        """Refuses too few and too many.

        Raises:
            InputError: none where the model needs one, one where it takes none, or both.
        """
        model = type(self.model).__name__
        if not self._guided and guides:
            raise InputError(f"{model} takes no {next(iter(guides))}; leave it out", code=f"bad-{next(iter(guides))}")
        if self._guided and not guides:
            raise InputError(
                f"{describe(image)}: {model} has to be told what is in front: trimap=, a grey picture of the same size "
                "with 255 in front, 0 behind and 128 where that is to be found out, or mask=, a bool array.",
                code="no-trimap",
            )
        if len(guides) == len(_GUIDES):
            raise InputError(f"{describe(image)}: expected a trimap or a mask, got both", code="bad-trimap")
        if "trimap" in guides and options.unknown_px != ImageMattingOptions.unknown_px:
            raise InputError(
                f"{describe(image)}: unknown_px is of a mask's outline, and has no effect on a trimap; leave it out",
                code="bad-trimap",
            )

    def cost(self, unit: Unit) -> float:
        """By its pixels, beside a picture of 512 by 512."""
        return unit.inputs["pixel_values"].shape[1] * unit.inputs["pixel_values"].shape[2] / _USUAL_PX

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """`matte`, `(B, 1, h, w)` alpha in [0, 1], or `(B, 4, h, w)` with RGB multiplied by alpha before it."""
        pixels = self.processor.finish(batch, dtype=torch.float32)["pixel_values"]
        if self._guided:
            shares = batch["trimap"].float() * self._factor
            (height, width), (high, wide) = pixels.shape[2:], shares.shape[2:]
            pixels = torch.cat([pixels, pad(shares, (0, width - wide, 0, height - high))], dim=1)
        output = self.model(pixel_values=pixels.to(self.dtype))
        told = [] if self._guided else [output.foregrounds]
        return {"matte": torch.cat([*told, output.alphas], dim=1)}

    def decode(self, outputs: Any, metas: Sequence[tuple[int, int]], options: Any) -> Sequence[_MattePart]:
        """The arguments of an `AlphaMatte` for each picture, brought to the CPU in one copy."""
        mattes = outputs["matte"][: len(metas)].float()
        maps = [self._at_size(matte, size) for matte, size in zip(mattes, metas, strict=True)]
        return [_part(each) for each in brought(maps)]

    def merge(self, parts: Sequence[_MattePart], options: Any, index: int) -> AlphaMatte:
        """The one picture's matte."""
        return AlphaMatte(*parts[0], index=index)

    def example(self) -> Any:
        """A grey gradient of 375 by 500 px, and where the model needs one, a trimap of which half is unknown."""
        image = super().example()
        return {"image": image, "trimap": image[0].clamp(64, 191)} if self._guided else image

    def _at_size(self, matte: Tensor, size: tuple[int, int]) -> Tensor:
        """`(C, H, W)`, without what ViTMatte's processor pads, or resized as Sapiens' is."""
        if self._guided:
            return matte[:, : size[0], : size[1]]
        return interpolate(matte[None], size=size, mode="bilinear", align_corners=False)[0].clamp(0, 1)


def _check_processor(processor: ImageProcessor, *, guided: bool) -> None:
    """Refuses a processor after which pixels of a matte are not those of the picture, or of its trimap.

    Raises:
        CheckpointError: it resizes pictures for ViTMatte, or puts a border around them for Sapiens 2, which
            Transformers would leave in the matte.
    """
    recipe = processor.recipe
    if recipe is None:  # then Transformers' own runs
        fits = not guided and not processor.to_dict().get("do_pad")
    else:
        steps = [type(step) for step in recipe.geometry]
        fits = steps in ([[]] if guided else [[], [Resize]]) and not (recipe.pad_to or recipe.pad_batch)
    if not fits:
        takes = "keeps the size of pictures but for what it pads" if guided else "resizes pictures and pads nothing"
        example = "VitMatteImageProcessor" if guided else "Sapiens2ImageProcessor with do_pad=False"
        raise CheckpointError(
            f"image-matting takes a processor that {takes} with this model, such as {example}, got "
            f"{processor!r:.200}. Pass processor=."
        )


def _part(matte: Tensor) -> _MattePart:
    """In memory of its own, which keeps no batch."""
    planes = matte.numpy()
    foreground = np.ascontiguousarray(planes[:3].transpose(1, 2, 0)) if len(planes) == 4 else None
    return _MattePart(planes[-1].copy(), foreground)
