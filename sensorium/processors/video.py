"""Frames of films → what a video model takes: `VideoProcessor` runs a checkpoint's own recipe as tensor operations."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sensorium.checkpoints.writing import checkpoint_written
from sensorium.errors import CheckpointError, InputError
from sensorium.processors.image_settings import check_settings
from sensorium.processors.locating import load_located
from sensorium.processors.recipe import Recipe
from sensorium.processors.recipe_settings import UnreadRecipe
from sensorium.processors.recipe_transformers import read_transformers

if TYPE_CHECKING:
    from sensorium.checkpoints import Checkpoint, LoadOptions

FILE_NAMES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")


class VideoProcessor:
    """Turns the frames of a film into what a checkpoint's model expects, by the checkpoint's own recipe.

    It works in two stages. `fit` runs on CPU threads, one film at a time, and keeps bytes bytes; `finish` runs on the
    model's device, a batch at a time. All methods are safe in several threads.

    Attributes:
        recipe: what is done with each frame, or None where that is not certain. Then the processor is *delegated*: the
            checkpoint's own Transformers processor runs in `fit`, with the same result, but slower. A warning says so
            once.
    """

    recipe: Recipe | None

    def __init__(self, reference: Any, recipe: Recipe | None) -> None:
        self.recipe = recipe
        self._reference = reference

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | PathLike[str] | Checkpoint, *, options: LoadOptions | None = None
    ) -> VideoProcessor:
        """Read the recipe of a checkpoint, or of a folder that `save_pretrained` wrote.

        Args:
            name_or_folder: a Hub id, a local folder, or a checkpoint that is already found.
            options: how to find and open it. Code that comes with a checkpoint runs only if `trust_remote_code` is set.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointError: it has no recipe, or a broken one.
            UnsafeCheckpointError: its recipe is its own code, which the caller did not allow.
            DownloadError: the Hub could not be reached, or refused.
        """
        from transformers import AutoVideoProcessor

        loaded = load_located(
            AutoVideoProcessor, name_or_folder, options, FILE_NAMES, kind="video processor", of="frames"
        )
        return cls.from_transformers(loaded)

    @classmethod
    def from_transformers(cls, processor: Any) -> VideoProcessor:
        """Read the recipe of a loaded Transformers video processor, or of a processor that has one.

        An image processor that takes a list of frames, as older checkpoints have it, will do, too.

        Raises:
            CheckpointError: it is none of these, chooses frames in a way of its own, or makes them larger than any
                model takes.
        """
        from transformers.image_processing_utils import BaseImageProcessor
        from transformers.video_processing_utils import BaseVideoProcessor

        processor = getattr(processor, "video_processor", processor)
        if not isinstance(processor, (BaseVideoProcessor, BaseImageProcessor)):
            raise CheckpointError(
                f"expected a video processor, got {type(processor).__name__}. Pass the one that the checkpoint was "
                f"trained with as processor=."
            )
        if getattr(type(processor), "sample_frames", None) not in (None, BaseVideoProcessor.sample_frames):
            raise CheckpointError(
                f"{type(processor).__name__} chooses a film's frames in a way of its own, which is not known here. "
                "Pass another processor=."
            )
        check_settings(processor)
        try:
            return cls(processor, read_transformers(processor))
        except UnreadRecipe as unread:
            warnings.warn(
                f"Sensorium does not read the recipe of {type(processor).__name__} ({unread}), so Transformers' own "
                "processor runs. Results are the same; preparing frames is slower.",
                UserWarning,
                stacklevel=2,
            )
        return cls(processor, None)

    def fit(self, frames: Iterable[Tensor]) -> dict[str, Tensor]:
        """Run the geometry on the frames of a film, one at a time: resize, crop.

        Args:
            frames: `(3, H, W)` RGB each, uint8, or float32 in [0, 255], at least one.

        Returns:
            `pixel_values`, `(T, 3, h, w)` on the CPU, of the frames' dtype. From a delegated processor: its final
            tensor without the batch axis.

        Raises:
            InputError: `mixed-sizes`, frames that the recipe leaves in several sizes; `processor-failed`, from a
                delegated one; those of `Recipe.fit`.
        """
        if self.recipe is None:
            return {"pixel_values": self._fit_delegated(list(frames))}
        fitted = [self.recipe.fit(frame) for frame in frames]
        sizes = {tuple(frame.shape) for frame in fitted}
        if len(sizes) > 1:
            told = ", ".join(f"{width}x{height}" for _, height, width in sorted(sizes)[:3])
            raise InputError(
                f"this checkpoint keeps the frames of this film in different sizes ({told} px …), which cannot be one "
                "input. Scale the film to one size.",
                code="mixed-sizes",
            )
        return {"pixel_values": torch.stack(fitted)}

    def finish(self, batch: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Run the arithmetic on a batch: rescale, normalise. No syncs, and no graph breaks when compiled.

        Args:
            batch: what `fit` gave, stacked, on any device.
            dtype: of the result. The arithmetic itself is in float32.

        Returns:
            `(B, T, 3, h, w)`.
        """
        pixels = batch["pixel_values"]
        if self.recipe is None:
            return pixels.to(dtype)
        finished: Tensor = self.recipe.finish(pixels.flatten(0, 1)).to(dtype)
        return finished.view(*pixels.shape[:2], *finished.shape[1:])

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the processor's file, which `from_pretrained` and Transformers read.

        Args:
            folder: made if it does not exist.
        """
        with checkpoint_written(Path(folder)) as new:
            self._reference.save_pretrained(new)

    def to_dict(self) -> dict[str, Any]:
        """What the processor's file holds."""
        written: dict[str, Any] = json.loads(self._reference.to_json_string())
        return written

    def __repr__(self) -> str:
        described = f"runs {type(self._reference).__name__}" if self.recipe is None else self.recipe
        return f"VideoProcessor({described})"

    def _fit_delegated(self, frames: list[Tensor]) -> Tensor:
        from transformers.video_processing_utils import BaseVideoProcessor

        rows = [frame.permute(1, 2, 0).numpy() for frame in frames]
        sampled = {"do_sample_frames": False} if isinstance(self._reference, BaseVideoProcessor) else {}
        try:
            outputs = self._reference(rows, return_tensors="pt", **sampled)
            (film,) = next(value for value in outputs.values() if isinstance(value, Tensor) and value.ndim == 5)
        except (ValueError, TypeError, AttributeError, RuntimeError, StopIteration, ZeroDivisionError) as error:
            raise InputError(
                f"the checkpoint's own {type(self._reference).__name__} failed on {len(frames)} frames "
                f"({type(error).__name__}: {error}). Check its settings, or pass processor=.",
                code="processor-failed",
            ) from error
        finished: Tensor = film.to(torch.float32)
        return finished
