"""What the settings of an image processor may be, whoever runs it: they are looked at before the first picture is.

A setting with which every picture fails is the checkpoint's fault, and no picture's.
"""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sensorium.errors import CheckpointError
from sensorium.processors.geometry import MOST_PIXELS, MOST_PX

_CHANNELS = 3
_PER_CHANNEL = re.compile("(.*_)?image_(mean|std)")


def check_settings(processor: Any) -> None:
    """Refuses an image processor whose settings no picture can be prepared with.

    Args:
        processor: an image processor object.

    Raises:
        CheckpointError: pictures would be larger than any model takes, or their numbers none that float32 has; names
            the setting.
    """
    check_edges(processor)
    if not type(processor).__module__.startswith("transformers."):
        return  # its own code, whose settings mean what it says
    for name, value in vars(processor).items():
        if callable(getattr(type(processor), name, None)) and not callable(value):
            raise _wrong(processor, name, "left out, since it is no setting", value)
    rescales, normalizes = (bool(getattr(processor, name, False)) for name in ("do_rescale", "do_normalize"))
    factor = getattr(processor, "rescale_factor", None) if rescales else 1.0
    if factor is not None and not _is_number(factor):
        raise _wrong(processor, "rescale_factor", "a number below 2^63", factor)
    if normalizes:
        for name, value in vars(processor).items():
            if _PER_CHANNEL.fullmatch(name) and value is not None:
                _check_channels(processor, name, value)
        _check_values(processor, factor)


def check_by_trial(processor: Any) -> None:
    """Refuses an image processor of Transformers' that cannot prepare a plain picture, while its class's defaults can.

    Args:
        processor: an image processor object.

    Raises:
        CheckpointError: it failed, or made of it what are no numbers; names the settings that are not the defaults.
    """
    kind = type(processor)
    if not kind.__module__.startswith("transformers."):
        return
    failed = _tried(processor)
    if failed is None:
        return
    with contextlib.suppress(Exception):  # of a class that does not go without settings
        if _tried(kind()) is not None:
            return  # it wants more than a picture
    raise _useless(processor, failed) from (failed if isinstance(failed, Exception) else None)


def _tried(processor: Any) -> Exception | str | None:
    """What is wrong with what comes of a plain picture, as bytes, floats or a pair; None where one of them goes."""
    pixels = np.tile(np.array([[[0], [255]]], np.uint8), (16, 16, 3))
    image, floats = Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1).float()
    failed: Exception | str | None = None
    for raw, how in ((image, {}), (floats, {"input_data_format": "channels_first"}), ([image, image], {})):
        try:
            outputs = processor(raw, return_tensors="pt", **how)
        except (MemoryError, Warning):
            raise
        except Exception as error:  # noqa: BLE001 - whoever asks says it
            failed = failed or error
            continue
        for name, value in outputs.items():
            if isinstance(value, Tensor) and not (value.numel() and torch.isfinite(value).all()):
                return f"{name} is empty, or has NaN in it"
        return None
    return failed


def check_edges(processor: Any) -> None:
    """Refuses an image processor whose settings ask for pictures larger than any model takes.

    Raises:
        CheckpointError: an edge is too long; names the setting.
    """
    areas = hasattr(type(processor), "merge_size")  # whose edges are numbers of pixels, as Qwen's are
    for name in ("size", "crop_size", "pad_size"):
        size: Any = getattr(processor, name, None)
        whole = size is None or isinstance(size, (int, float, str, list, tuple))
        sides: dict[str, Any] = {"": size} if whole else dict(size)
        longest = max((side for side in sides.values() if isinstance(side, (int, float))), default=0)
        fixed = [side for side in (sides.get("height"), sides.get("width")) if isinstance(side, (int, float))]
        pixels = math.prod(fixed) if len(fixed) == 2 else 0
        if (longest >= MOST_PX and not areas) or pixels > MOST_PIXELS:
            raise _wrong(processor, name, f"at most {MOST_PX - 1:,} px on a side, and {MOST_PIXELS:,} px in all", sides)


def _check_channels(processor: Any, name: str, value: Any) -> None:
    listed = value if isinstance(value, (list, tuple)) else [value]
    divides = name.endswith("std")
    plain = len(listed) in (1, _CHANNELS) and all(_is_number(one) for one in listed)
    if not plain or (divides and not np.asarray(listed, np.float32).all()):
        other = " other than 0" * divides
        raise _wrong(processor, name, f"a number{other} below 2^63, or one for each of {_CHANNELS} channels", value)


def _check_values(processor: Any, factor: float | None) -> None:
    """Black and white have to come out as numbers where the factor goes into mean and deviation, as it mostly does."""
    mean, deviation = (getattr(processor, f"image_{name}", None) for name in ("mean", "std"))
    if mean is None or deviation is None or factor is None:
        return
    with np.errstate(all="ignore"):
        unscale = np.float32(1.0 / factor) if factor else np.float32(np.inf)
        fused = [np.asarray(values, np.float32) * unscale for values in (mean, deviation)]
        values = [(np.float32(value) - fused[0]) / fused[1] for value in (0, 255)]
    if not np.isfinite(values).all():
        raise _wrong(
            processor,
            "image_mean, image_std and rescale_factor",
            "such that black and white become numbers in float32",
            (mean, deviation, factor),
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 2.0**63  # which NaN is not


def _useless(processor: Any, failed: Exception | str) -> CheckpointError:
    why = failed if isinstance(failed, str) else f"{type(failed).__name__}: {failed!s:.300}"
    own = {name: value for name, value in vars(processor).items() if not name.startswith("_")}
    named = [name for name in own if name in why] or [
        name for name, value in own.items() if _shown(value) != _shown(getattr(type(processor), name, None))
    ]
    return CheckpointError(
        f"{type(processor).__name__} cannot prepare a plain image ({why}). Correct "
        f"{', '.join(named[:6]) or 'its settings'} in the checkpoint's preprocessor_config.json, or pass processor=."
    )


def _shown(value: Any) -> str:
    return repr(value).strip("()[]")  # a list in a file is a tuple when it is loaded


def _wrong(processor: Any, name: str, expected: str, got: Any) -> CheckpointError:
    shown = repr(got)
    return CheckpointError(
        f"{name} of {type(processor).__name__} should be {expected}, got {shown[:120]}"
        f"{'…' if len(shown) > 120 else ''}. Correct the checkpoint's preprocessor_config.json, or pass processor=."
    )
