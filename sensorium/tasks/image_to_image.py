"""image-to-image: a picture made larger, or cleaner."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError, OptionError
from sensorium.models.on_device import brought
from sensorium.processors.borders import PadSymmetric
from sensorium.processors.image import ImageProcessor
from sensorium.processors.layers import load_layers
from sensorium.processors.media import describe
from sensorium.results import OutputImage
from sensorium.tasks.base import Batch, Models, Options, Unit
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.media.images import ImageTask
from sensorium.tasks.options import Natural, Range
from sensorium.tasks.tiles.grid import LEVELS, TileGrid

_ENLARGING = ("pixelshuffle", "pixelshuffle_aux", "pixelshuffledirect", "nearest+conv")
_USUAL_PX = 64 * 64  # what the batch sizes are for that the engine tries


@dataclass(frozen=True)
class ImageToImageOptions(Options):
    """The options of a call.

    Attributes:
        tile_px: a picture with a longer side is taken in tiles of at most this height and width, px.
        overlap_px: how much of a tile its neighbour has, too, px; there one goes over into the other.
    """

    tile_px: Annotated[int, Range(16, unit="px")] = 512
    overlap_px: Natural = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 * self.overlap_px > self.tile_px:
            raise OptionError(
                f"overlap_px is at most half of tile_px, got {self.overlap_px} px of {self.tile_px} px; "
                "take larger tiles, or a smaller overlap"
            )


class _TiledFrame(NamedTuple):
    """What `decode` and `merge` have to know of a picture.

    Attributes:
        size: (height, width), px.
        grid: where its tiles lie.
        grey: whether it has no colours.
        bits: of the result.
        alpha: `(H, W)` uint8, uint16 or float32; None without, and for all tiles but the first.
    """

    size: tuple[int, int]
    grid: TileGrid
    grey: bool
    bits: int
    alpha: NDArray[Any] | None


class ImageToImage(ImageTask):
    """A picture of each picture, as Transformers' pipeline of the same name gives it, without its border."""

    name = "image-to-image"
    summary = "a picture made larger, or cleaner"
    options = ImageToImageOptions
    models = (Models("AutoModelForImageToImage"),)
    default = "caidas/swin2SR-classical-sr-x2-64@cee1c92"

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        if config.num_channels not in (1, 3) or config.num_channels_out not in (1, 3):
            raise CheckpointError(
                f"{self.name} takes models of grey or RGB pictures, got one from {config.num_channels} channels to "
                f"{config.num_channels_out}"
            )
        self._channels: int = config.num_channels
        self._grey = config.num_channels_out == 1
        self._scale: int = config.upscale if config.upsampler in _ENLARGING else 1
        self._border = PadSymmetric(config.window_size)
        self._multiple = math.lcm(config.window_size, *_multiples(self.processor))

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model that gives a picture."""
        from transformers import AutoModelForImageToImage

        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForImageToImage, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model that gives a picture."""
        return cls(model, processor_of(model, processor))

    def split(self, raw: Any, options: ImageToImageOptions) -> Iterator[Unit]:
        """Decodes the picture with all that it holds, puts the border around it, and cuts it into tiles."""
        layers = load_layers(raw, limits=self.limits)
        height, width, channels = layers.shape
        self.limits.check_size(
            width * self._scale, height * self._scale, name=f"{describe(raw)}, made {self._scale} times as large"
        )
        if channels > 2 and self._channels == 1:
            raise InputError(
                f"{describe(raw)}: expected a grey picture, as this model is for, got one with colours. Convert it: "
                f'image.convert("L").',
                code="not-grey",
            )
        padded = self._border(self.processor.fit(_as_pixels(layers))["pixel_values"])
        grid = TileGrid.over(
            (height, width),
            (padded.shape[1], padded.shape[2]),
            tile_px=options.tile_px,
            overlap_px=options.overlap_px,
            multiple=self._multiple,
        )
        bits = 8 if layers.dtype == np.uint8 else 16
        alpha = layers[:, :, -1] if channels in (2, 4) else None
        for tile in grid.cut(padded):
            yield Unit(
                {"pixel_values": tile}, _TiledFrame((height, width), grid, channels < 3 or self._grey, bits, alpha)
            )
            alpha = None

    def cost(self, unit: Unit) -> float:
        """By its pixels, beside a tile of 64 by 64."""
        return unit.inputs["pixel_values"].shape[1] * unit.inputs["pixel_values"].shape[2] / _USUAL_PX

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """`reconstruction`, `(B, C, h, w)`, about in [0, 1]."""
        pixels = self.processor.finish(batch, dtype=self.dtype)["pixel_values"]
        return {"reconstruction": self.model(pixel_values=pixels[:, : self._channels]).reconstruction}

    def decode(
        self, outputs: Any, metas: Sequence[_TiledFrame], options: Any
    ) -> Sequence[tuple[_TiledFrame, NDArray[Any]]]:
        """Each tile with its frame, `(h, w, C)` uint8 or uint16, brought to the CPU in one copy."""
        tiles = [_levels(one, frame, self._scale) for one, frame in zip(outputs["reconstruction"], metas, strict=False)]
        return [(frame, _array(tile)) for frame, tile in zip(metas, brought(tiles), strict=True)]

    def merge(self, parts: Sequence[tuple[_TiledFrame, NDArray[Any]]], options: Any, index: int) -> OutputImage:
        """The tiles joined, and alpha beside them."""
        frame, pixels = parts[0]
        size = (frame.size[0] * self._scale, frame.size[1] * self._scale)
        if not frame.grid.single:
            pixels = _at_bits(frame.grid.joined([tile for _, tile in parts], size, self._scale), frame.bits)
        if frame.alpha is not None:
            pixels = np.concatenate([pixels, _resampled(frame.alpha, size, frame.bits)[:, :, None]], axis=2)
        return OutputImage(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, index=index)


def _multiples(processor: ImageProcessor) -> list[int]:
    """What the processor pads to multiples of.

    Raises:
        CheckpointError: it does more to a picture than to put a border below and at its right.
    """
    recipe = processor.recipe
    steps = () if recipe is None else recipe.geometry
    borders = [step for step in steps if isinstance(step, PadSymmetric)]
    if recipe is None or len(borders) < len(steps) or recipe.pad_to or recipe.grey:
        raise CheckpointError(
            "image-to-image takes a processor that keeps the size of pictures but for a border, such as "
            f"Swin2SRImageProcessor, got {processor!r:.200}. Pass processor=."
        )
    return [step.multiple for step in borders]


def _as_pixels(layers: NDArray[Any]) -> Tensor:
    """`(3, H, W)` without alpha: uint8, or float32 in [0, 255] of what has more bits."""
    colours = layers[:, :, : 1 if layers.shape[2] < 3 else 3]
    if layers.dtype == np.uint16:
        colours = colours / np.float32(LEVELS // 255)
    elif layers.dtype != np.uint8:
        colours = colours * np.float32(255)
    pixels = torch.from_numpy(np.ascontiguousarray(colours)).expand(-1, -1, 3)
    return pixels.contiguous().permute(2, 0, 1)


def _levels(reconstruction: Tensor, frame: _TiledFrame, scale: int) -> Tensor:
    """Rounded: `(C, h, w)` uint8, or int16, which is a uint16 less 32,768 for devices that have none.

    A picture of one tile is cut to its size; tiles that are to be joined are of 16 bit.
    """
    pixels = reconstruction.float().clamp(0, 1)
    if frame.grey and len(pixels) == 3:
        red, green, blue = pixels.split(1)
        pixels = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601, as Pillow has it
    if frame.grid.single:
        pixels = pixels[:, : frame.size[0] * scale, : frame.size[1] * scale]
        if frame.bits == 8:
            return (pixels * 255).round().to(torch.uint8)
    return ((pixels * LEVELS).round() - 32768).to(torch.int16)


def _array(levels: Tensor) -> NDArray[Any]:
    """`(h, w, C)` uint8 or uint16, in memory of its own."""
    array = np.ascontiguousarray(levels.permute(1, 2, 0).numpy())
    if array.base is not None:
        array = array.copy()
    return array if array.dtype == np.uint8 else array.view(np.uint16) ^ np.uint16(32768)


def _at_bits(joined: NDArray[np.uint16], bits: int) -> NDArray[Any]:
    if bits == 16:
        return joined
    rounded = np.empty(joined.shape, np.uint8)
    for row, levels in zip(rounded, joined, strict=True):  # as a whole it would be in memory four times
        row[:] = (levels.astype(np.uint32) + 128) // 257
    return rounded


def _resampled(alpha: NDArray[Any], size: tuple[int, int], bits: int) -> NDArray[Any]:
    """Alpha at the size of the result, by cubic splines."""
    most, kind = (255, np.uint8) if bits == 8 else (LEVELS, np.uint16)
    unit = alpha.astype(np.float32) if alpha.dtype.kind == "f" else alpha / np.float32(np.iinfo(alpha.dtype).max)
    if alpha.shape != size:
        tensor = torch.from_numpy(unit)[None, None]
        unit = interpolate(tensor, size, mode="bicubic", align_corners=False)[0, 0].clamp(0, 1).numpy()
    found: NDArray[Any] = np.rint(unit * most).astype(kind)
    return found
