"""Reads a recipe out of a Transformers image processor, or out of a video processor for each of its frames.

A class that inherits all of TorchvisionBackend's own steps, or BaseVideoProcessor's, is read generically. A class that
overrides some is read only if it stands in `OVERRIDES`, with exactly the methods that it is known to override. Anything
else is not read at all: `UnreadRecipe` is raised, and the processor itself runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.processors.recipe import Recipe
from sensorium.processors.recipe_classifiers import read_base, read_unpadded
from sensorium.processors.recipe_readers import OVERRIDES
from sensorium.processors.recipe_settings import UnreadRecipe

# What the values of a TorchvisionBackend's `pixel_values` depend on, besides its attributes.
_STEPS = (
    "__call__",
    "_fuse_mean_std_and_rescale_factor",
    "_prepare_image_like_inputs",
    "_prepare_images_structure",
    "_preprocess",
    "_preprocess_image_like_inputs",
    "_standardize_kwargs",
    "_validate_preprocess_kwargs",
    "center_crop",
    "convert_to_rgb",
    "fetch_images",
    "normalize",
    "pad",
    "preprocess",
    "process_image",
    "rescale",
    "rescale_and_normalize",
    "resize",
)


def read_transformers(processor: Any) -> Recipe:
    """Read the recipe of a loaded Transformers image processor.

    Args:
        processor: an image processor object, or a video processor.

    Raises:
        UnreadRecipe: its class, or one of its settings, is not one that is known to be read exactly.
    """
    from transformers.image_processing_backends import TorchvisionBackend
    from transformers.video_processing_utils import BaseVideoProcessor

    if not isinstance(processor, TorchvisionBackend):
        raise UnreadRecipe("it is not a torchvision-backed image processor")
    cls = type(processor)
    of_films = isinstance(processor, BaseVideoProcessor)
    base, plain = (BaseVideoProcessor, read_unpadded) if of_films else (TorchvisionBackend, read_base)
    changed = {name for name in _STEPS if getattr(cls, name) is not getattr(base, name)}
    changed |= {name for name in _STEPS if name in vars(processor)}
    read = _reader_of(cls, changed) if changed else plain
    try:
        return read(processor)
    except (CheckpointError, AttributeError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise UnreadRecipe(f"a setting is not as expected: {error}") from error


def _reader_of(cls: type, changed: set[str]) -> Callable[[Any], Recipe]:
    """The reader of a class of Transformers that overrides exactly these steps."""
    if not cls.__module__.startswith("transformers.models."):
        raise UnreadRecipe(f"it is not Transformers' own class, and has its own {', '.join(sorted(changed))}")
    read, overridden = OVERRIDES.get(cls.__name__, (None, set()))
    if read is None or changed != overridden:
        raise UnreadRecipe(f"it has its own {', '.join(sorted(changed))}")
    return read
