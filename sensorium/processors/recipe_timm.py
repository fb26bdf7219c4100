"""Reads a recipe out of timm's `pretrained_cfg`, without timm.

The reference is `create_transform(**resolve_data_config(pretrained_cfg))`, which resamples with Pillow, and so does
the recipe. torch's resampling of bytes is five times as fast, but where a bicubic kernel overshoots black or white it
differs by up to 20 grey levels: it clips between its two passes, and which pass comes first is not the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sensorium.errors import CheckpointError
from sensorium.processors.geometry import CenterCrop, Resize
from sensorium.processors.image_resampling import SizeRule
from sensorium.processors.recipe import Operation, Recipe

_MODES = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
_DEFAULTS: dict[str, Any] = {  # timm.data.resolve_data_config's
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.875,
    "crop_mode": "center",
}


def resolve_timm(pretrained_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The six entries that say how timm prepares a picture, with timm's defaults where `pretrained_cfg` has none.

    Raises:
        CheckpointError: an entry is not what timm writes there, or is for other than three channels.
    """
    entries = {name: pretrained_cfg.get(name) or default for name, default in _DEFAULTS.items()}
    config = {name: list(one) if isinstance(one, tuple) else one for name, one in entries.items()}
    three = all(_is_numbers(config[name], 3) for name in ("input_size", "mean", "std"))
    if not (three and config["input_size"][0] == 3 and all(config["std"])):
        raise _bad(config, "input_size [3, height, width], and mean and std of three channels")
    if config["interpolation"] not in _MODES:
        raise _bad(config, f"an interpolation out of {', '.join(_MODES)}")
    if not (
        _is_numbers([config["crop_pct"]], 1)
        and float(str(config["crop_pct"])) > 0
        and isinstance(config["crop_mode"], str)
    ):
        raise _bad(config, "a positive crop_pct and a crop_mode center, squash or border")
    return config


def read_timm(pretrained_cfg: Mapping[str, Any]) -> Recipe:
    """Read the recipe of timm's evaluation transform.

    Args:
        pretrained_cfg: as in a timm checkpoint's `config.json`, or `model.pretrained_cfg`.

    Raises:
        CheckpointError: an entry is not what timm writes there, or is for other than three channels.
    """
    config = resolve_timm(pretrained_cfg)
    height, width = (int(side) for side in config["input_size"][1:])
    scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    rule: SizeRule = "shortest" if scaled[0] == scaled[1] else "cover"
    fill = (0, 0, 0)
    if config["crop_mode"] == "squash":
        rule = "exact"
    elif config["crop_mode"] == "border":
        rule = "contain"
        red, green, blue = (round(255 * value) for value in config["mean"])
        fill = (red, green, blue)
    resize = Resize(rule, scaled, config["interpolation"], pillow=True)
    crop = CenterCrop((height, width), fill=fill, half_even=True)
    return Recipe((resize, crop), _arithmetic(config["mean"], config["std"]))


def _arithmetic(mean: Sequence[float], std: Sequence[float]) -> tuple[Operation, ...]:
    scaled = [tuple((torch.tensor(values, dtype=torch.float32) * 255).tolist()) for values in (mean, std)]
    mean_values, std_values = (values[:1] if len(set(values)) == 1 else values for values in scaled)
    return Operation("subtract", mean_values), Operation("divide", std_values)


def _is_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) and abs(value) < 2.0**63 for value in values)
    )


def _bad(config: Mapping[str, Any], expected: str) -> CheckpointError:
    return CheckpointError(
        f"expected timm's pretrained_cfg with {expected}, got {dict(config)!r:.500}. Correct the checkpoint's "
        f"config.json, or pass processor=."
    )
