"""Pictures → what an image model takes: `ImageProcessor` runs a checkpoint's own recipe as tensor operations."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sensorium.checkpoints import Checkpoint, LoadOptions
from sensorium.checkpoints.writing import CONFIG, checkpoint_written
from sensorium.errors import InputError
from sensorium.processors.image_loading import StoredRecipe, find_recipe, recipe_in
from sensorium.processors.image_resampling import to_numpy_hwc
from sensorium.processors.image_settings import check_by_trial, check_settings
from sensorium.processors.media import is_batch, load_image, split_batch
from sensorium.processors.recipe import Recipe
from sensorium.processors.recipe_settings import UnreadRecipe
from sensorium.processors.recipe_timm import read_timm, resolve_timm
from sensorium.processors.recipe_transformers import read_transformers

FILE_NAME = "preprocessor_config.json"


class ImageProcessor:
    """Turns pictures into what a checkpoint's model expects, by the checkpoint's own recipe.

    It works in two stages. `fit` runs on CPU threads, one picture at a time, and keeps bytes bytes; `finish` runs on
    the model's device, a batch at a time. Calling the processor does both. All methods are safe in several threads.

    Attributes:
        recipe: what is done, or None where that is not certain. Then the processor is *delegated*: the
            checkpoint's own Transformers processor runs, with the same result, but slower. A warning says so once.
        input_names: the model's inputs that `fit` and `finish` give, the picture itself first.
        timm_config: timm's resolved entries (`input_size`, `mean`, …) if the recipe came from timm, else None.
    """

    recipe: Recipe | None
    input_names: tuple[str, ...]
    timm_config: dict[str, Any] | None

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        masks = ("pixel_attention_mask", "spatial_shapes") if recipe.patches else ("pixel_mask",) * recipe.pixel_mask
        self.input_names = ("pixel_values", *masks)
        self.timm_config = None
        self._reference: Any = None  # the Transformers processor that it was read from, and that runs if delegated

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | PathLike[str] | Checkpoint, *, options: LoadOptions | None = None
    ) -> ImageProcessor:
        """Read the recipe of a checkpoint, or of a folder that `save_pretrained` wrote.

        Args:
            name_or_folder: a Hub id, a local folder, `timm/…`, `starter/…`, or a checkpoint that is already found.
            options: how to find and open it. Code that comes with a checkpoint runs only if `trust_remote_code` is set.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointError: it has no recipe, or a broken one.
            UnsafeCheckpointError: its recipe is its own code, which the caller did not allow.
            DownloadError: the Hub could not be reached, or refused.
        """
        return cls._from_stored(find_recipe(name_or_folder, options))

    @classmethod
    def from_transformers(cls, processor: Any) -> ImageProcessor:
        """Read the recipe of a loaded Transformers image processor, or of a processor that has one.

        Raises:
            CheckpointError: no picture can be prepared with its settings.
        """
        processor = getattr(processor, "image_processor", processor)
        check_settings(processor)
        if type(processor).__name__ == "TimmWrapperImageProcessor":
            return cls.from_timm(processor.data_config)
        recipe, reason = None, ""
        try:
            recipe = read_transformers(processor)
        except UnreadRecipe as unread:
            check_by_trial(processor)
            reason = str(unread)
        self = cls(recipe or Recipe())
        self._reference = processor
        if recipe is None:
            self.recipe = None
            self.input_names = tuple(processor.model_input_names)
            warnings.warn(
                f"Sensorium does not read the recipe of {type(processor).__name__} ({reason}), so Transformers' own "
                f"processor runs. Results are the same; preparing pictures is slower.",
                UserWarning,
                stacklevel=2,
            )
        return self

    @classmethod
    def from_timm(cls, pretrained_cfg: Mapping[str, Any]) -> ImageProcessor:
        """Read the recipe of timm's evaluation transform.

        Args:
            pretrained_cfg: as in a timm checkpoint's `config.json`, or `model.pretrained_cfg`.

        Raises:
            CheckpointError: an entry is not what timm writes there, or is for other than three channels.
        """
        self = cls(read_timm(pretrained_cfg))
        self.timm_config = resolve_timm(pretrained_cfg)
        return self

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in px of the output where it is the same for all pictures, else None."""
        return None if self.recipe is None else self.recipe.size

    def fit(self, image: Tensor) -> dict[str, Tensor]:
        """Run the geometry on one picture: resize, crop, channel order.

        Args:
            image: `(3, H, W)` RGB, uint8, or float32 in [0, 255]. Channels-last strides, which `load_image` gives, are
                fastest. A picture on a device is fitted there.

        Returns:
            `pixel_values`, `(3, h, w)` on the CPU, uint8 for uint8 (float32 where the recipe resizes in floats), mostly
            with the strides of `image`; it may be a view of `image` or of something larger. From a recipe of patches
            what `Patches.cut` gives. From a delegated processor: its final tensors without the batch axis, float32 or
            integer.

        Raises:
            InputError: not such a tensor, or a shape that this recipe cannot handle.
        """
        if image.ndim != 3 or image.shape[0] != 3 or image.dtype not in (torch.uint8, torch.float32):
            raise InputError(
                f"expected a (3, H, W) tensor of uint8, or float32 in [0, 255], got {tuple(image.shape)} {image.dtype}."
                f" load_image makes one of any picture.",
                code="bad-shape",
            )
        if self.recipe is None:
            return self._fit_delegated(image.cpu())
        fitted = self.recipe.fit(image)
        if fitted.device.type != "cpu":  # laid out as what the CPU decodes
            fitted = fitted.permute(1, 2, 0).contiguous().cpu().permute(2, 0, 1)
        return {"pixel_values": fitted} if self.recipe.patches is None else self.recipe.patches.cut(fitted)

    def pieces(self, fitted: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """What the model sees of a picture that was fitted: all of it at once, or its squares, of the same size each.

        Raises:
            LimitError: there would be too many squares.
        """
        if self.recipe is None or not self.recipe.squares:
            return [dict(fitted)]
        return [{**fitted, "pixel_values": piece} for piece in self.recipe.pieces(fitted["pixel_values"])]

    def finish(self, batch: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Run the arithmetic on a batch: rescale, normalise, pad. No syncs, and no graph breaks when compiled.

        Args:
            batch: what `fit` gave, stacked, on any device; `pixel_values` is `(B, 3, h, w)`. A contiguous or a
                channels-last batch keeps its layout; on the CPU both are fast in eager mode, the contiguous one
                when compiled.
            dtype: of the result. The arithmetic itself is in float32.

        Returns:
            The batch with `pixel_values` in `dtype`, and `pixel_mask`, `(B, h, w)` int64, where the recipe has one. A
            delegated processor's tensors are done already, and its floating-point ones are only cast.
        """
        if self.recipe is None:
            return {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}
        pixels = batch["pixel_values"]
        if self.recipe.patches is not None:  # what fills a row is 0 after the arithmetic
            patches = self.recipe.finish(pixels) * batch["pixel_attention_mask"][..., None]
            return {**batch, "pixel_values": patches.to(dtype)}
        mask = {"pixel_mask": self.recipe.mask(pixels)} if self.recipe.pixel_mask else {}
        return {**batch, "pixel_values": self.recipe.finish(pixels).to(dtype), **mask}

    def __call__(self, images: Any, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Prepare one or more pictures as one batch on the CPU.

        Args:
            images: anything that `load_image` takes, or a list, tuple or 4-D array of it.
            dtype: of the result.

        Returns:
            `pixel_values`, `(B, 3, h, w)` in `dtype`, and what else the model takes; of a picture that the model sees
            square by square, a row for each.

        Raises:
            InputError: an empty list, a picture that cannot be read or prepared (`index` says which), or pictures
                that come out in different sizes where the checkpoint does not pad.
        """
        sources = split_batch(images) if is_batch(images) else [images]
        fitted = []
        for index, source in enumerate(sources):
            try:
                fitted += self.pieces(self.fit(load_image(source)))
            except InputError as error:
                error.index = index
                raise
        if not fitted:
            raise InputError("expected at least one picture, got an empty list.", code="empty-batch")
        return self._batched(fitted, dtype=dtype)

    def to_dict(self) -> dict[str, Any]:
        """What `preprocessor_config.json` holds: Transformers' own entries, timm's, or the recipe itself."""
        if self._reference is not None:
            written: dict[str, Any] = json.loads(self._reference.to_json_string())
            return written
        if self.timm_config is not None:
            return {"image_processor_type": "TimmWrapperImageProcessor", "pretrained_cfg": dict(self.timm_config)}
        assert self.recipe is not None
        return {"sensorium_recipe": self.recipe.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageProcessor:
        """Read what `to_dict` gave, or any `preprocessor_config.json`. No code that comes with it is run.

        Raises:
            CheckpointError: it is not a recipe.
        """
        return cls._from_stored(recipe_in(data))

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write `preprocessor_config.json`, so that `from_pretrained` gives this processor again.

        Transformers' AutoImageProcessor reads it too, and gives the same pixels. For a recipe of timm's it does so
        through its own wrapper around timm, which looks into `config.json`: that is written as well if there is none,
        and whoever writes one for a model puts `config_entries` into it.

        Args:
            folder: made if it does not exist.
        """
        with checkpoint_written(Path(folder)) as new:
            write_recipe(self, new, config=not (Path(folder) / CONFIG).exists())

    @property
    def config_entries(self) -> dict[str, Any]:
        """What the `config.json` beside it must hold for AutoImageProcessor to find the recipe; usually nothing."""
        return {} if self.timm_config is None else self.to_dict()

    def __repr__(self) -> str:
        described = f"runs {type(self._reference).__name__}" if self.recipe is None else self.recipe
        return f"ImageProcessor({described})"

    @classmethod
    def _from_stored(cls, stored: StoredRecipe) -> ImageProcessor:
        if stored.recipe is not None:
            return cls(stored.recipe)
        if stored.timm_config is not None:
            return cls.from_timm(stored.timm_config)
        return cls.from_transformers(stored.reference)

    def _fit_delegated(self, image: Tensor) -> dict[str, Tensor]:
        try:
            if image.dtype == torch.uint8:  # as Transformers' pipelines call it
                outputs = self._reference(Image.fromarray(to_numpy_hwc(image)), return_tensors="pt")
            else:
                outputs = self._reference(image, input_data_format="channels_first", return_tensors="pt")
        except (ValueError, TypeError, AttributeError, RuntimeError, ZeroDivisionError) as error:
            raise InputError(
                f"the checkpoint's own {type(self._reference).__name__} failed on a picture of {image.shape[2]}x"
                f"{image.shape[1]} px ({type(error).__name__}: {error}). Check its settings, or pass processor=.",
                code="processor-failed",
            ) from error
        tensors = {name: value[0] for name, value in outputs.items() if isinstance(value, Tensor)}
        return {name: one.to(torch.float32) if one.is_floating_point() else one for name, one in tensors.items()}

    def _batched(self, fitted: list[dict[str, Tensor]], *, dtype: torch.dtype) -> dict[str, Tensor]:
        shapes = {tuple(one["pixel_values"].shape) for one in fitted if "pixel_values" in one}
        if len(shapes) <= 1:
            return self.finish({name: torch.stack([one[name] for one in fitted]) for name in fitted[0]}, dtype=dtype)
        if self.recipe is None or not self.recipe.pad_batch:
            sizes = ", ".join(f"{shape[-1]}x{shape[-2]}" for shape in sorted(shapes)[:3])
            raise InputError(
                f"this checkpoint keeps pictures in different sizes ({sizes} px …), which cannot be one batch. Call "
                f"the "
                f"processor for one picture at a time, or give pictures of one size.",
                code="mixed-sizes",
            )
        height, width = (max(shape[axis] for shape in shapes) for axis in (1, 2))
        done = [self.finish({"pixel_values": one["pixel_values"][None]}, dtype=dtype) for one in fitted]
        return {
            name: torch.cat(
                [F.pad(one[name], (0, width - one[name].shape[-1], 0, height - one[name].shape[-2])) for one in done]
            )
            for name in done[0]
        }


def write_recipe(processor: ImageProcessor, folder: Path, *, config: bool) -> None:
    """Writes the files of an image processor; into `config.json`, if there is to be one, what Transformers looks up."""
    _write_json(folder / FILE_NAME, processor.to_dict())
    if config and processor.config_entries:
        _write_json(folder / CONFIG, processor.config_entries)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
