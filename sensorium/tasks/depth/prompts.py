"""A depth that is known already, from a sensor for one, as a prompt for the depth of every pixel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sensorium.errors import InputError

FORMS = "a prompt_depth is an (H, W) array, a tensor, a list of rows, or a PIL picture with one channel"
_LEAST_SPAN = 1e-6  # m; what the reference makes of a flat prompt


class PromptDepth(NamedTuple):
    """A prompt as the model takes it.

    Attributes:
        shares: `(1, H, W)` float32, from 0 at its least depth to 1 at its largest.
        low: its least depth, m.
        span: from its least depth to its largest, m.
    """

    shares: Tensor
    low: float
    span: float


def read_prompt(raw: Any, *, scale: float, max_pixels: int) -> PromptDepth:
    """Reads a prompt.

    Args:
        raw: an `(H, W)` array, tensor, list of rows or PIL picture of numbers; its size need not be the picture's.
        scale: metres in one of its units.
        max_pixels: it has at most.

    Raises:
        InputError: it is something else, empty, too large, or has numbers that are not finite.
    """
    metres = np.asarray(_numbers(raw), dtype=np.float32) * np.float32(scale)
    if not 0 < metres.size <= max_pixels:
        raise InputError(f"a prompt_depth has from 1 to {max_pixels:,} px, got {metres.size:,}", code="bad-prompt")
    if not np.isfinite(metres).all():
        raise InputError("a prompt_depth has finite numbers, got NaN or infinity", code="bad-prompt")
    low, high = float(metres.min()), float(metres.max())
    if high > low:
        return PromptDepth(torch.from_numpy((metres - np.float32(low)) / np.float32(high - low))[None], low, high - low)
    # a flat one has no span to divide by: as in the reference one row of it is raised a little
    shares = np.zeros_like(metres)
    shares[0] = 1
    return PromptDepth(torch.from_numpy(shares)[None], low, _LEAST_SPAN)


def _numbers(raw: Any) -> Any:
    """The `(H, W)` numbers of a prompt."""
    if isinstance(raw, Tensor):
        raw = raw.detach().cpu().numpy()
    elif not isinstance(raw, (np.ndarray, Image.Image, list, tuple)):
        raise InputError(f"{FORMS}, got {type(raw).__name__}", code="bad-prompt")
    try:
        array = np.asarray(raw)
    except (ValueError, OSError, SyntaxError) as error:
        raise InputError(f"{FORMS}, and this one cannot be read: {error}", code="bad-prompt") from error
    if array.ndim != 2 or array.dtype.kind not in "uif":
        raise InputError(f"{FORMS} of numbers, got the shape {array.shape} of {array.dtype}", code="bad-prompt")
    return array
