"""The kernels of a recipe's geometry: what size a picture gets, how it is resampled, how it is padded."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sensorium.errors import CheckpointError, InputError, LimitError
from sensorium.processors.resampling_on_device import resample_on_device, resamples_on_device

SizeRule = Literal[
    "exact",
    "shortest",
    "shortest-capped",
    "shortest-capped-16",
    "shortest-rounded",
    "shortest-floored",
    "longest",
    "within",
    "contain",
    "cover",
    "nearest-scale",
    "floored",
]
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

MAX_RESIZED_PIXELS = 100_000_000  # a 1x20,000 px picture with its shorter edge at 224 px would take 3 GB

_TORCH_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic", "lanczos": "lanczos"}
"""The names of torchvision's interpolation modes."""


def resized_size(height: int, width: int, *, rule: SizeRule, size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The size that a picture gets.

    Args:
        height: of the picture, px.
        width: of the picture, px.
        rule: `exact`: size is (height, width). `shortest`: the shorter edge becomes size[0], the longer is rounded
            down. `shortest-rounded`: the longer is rounded to the nearest. `shortest-capped`: the longer edge is at
            most size[1]; with `-16`, both are rounded down to a multiple of 16. `within`: as large as fits in size,
            rounded down. `contain` and `cover`: as large as fits in, or as small as covers, size, rounded to the
            nearest. `longest`: the longer edge becomes size[0], the shorter is rounded to the nearest.
            `shortest-floored`: as `shortest-capped`, and both are rounded down to a multiple of `multiple`.
            `nearest-scale`: one edge becomes that of size which changes its length less, the other keeps the shape;
            both are rounded to the nearest multiple of `multiple`. `floored`: both stay, but for being rounded down to
            a multiple of size's.
        size: as the rule reads it, px.
        multiple: both sides are rounded up to a multiple of this.

    Raises:
        InputError: a side would be 0 px.
        LimitError: the result would have more than `MAX_RESIZED_PIXELS`.
    """
    if rule in ("shortest-floored", "nearest-scale"):
        new = (_floored if rule == "shortest-floored" else _nearest)(height, width, size, multiple)
    else:
        new = _by_rule(height, width, rule, size)
    if multiple > 1:
        new = (-(-new[0] // multiple) * multiple, -(-new[1] // multiple) * multiple)
    if min(new) < 1:
        raise InputError(
            f"a picture of {width}x{height} px would become {new[1]}x{new[0]} px for this checkpoint. Crop it to a "
            f"shape less elongated.",
            code="too-narrow",
        )
    if new[0] * new[1] > MAX_RESIZED_PIXELS:
        raise LimitError(
            f"a picture of {width}x{height} px would become {new[1]}x{new[0]} px for this checkpoint, more than "
            f"{MAX_RESIZED_PIXELS:,} px in all. Crop it to a shape less elongated.",
            code="too-elongated",
        )
    return new


def _by_rule(height: int, width: int, rule: SizeRule, size: tuple[int, int]) -> tuple[int, int]:
    # Each line is its reference's own arithmetic: another order of the same products can round to another px.
    if rule == "exact":
        return size
    if rule == "shortest":
        long = int(size[0] * max(height, width) / min(height, width))
        return (long, size[0]) if width <= height else (size[0], long)
    if rule == "shortest-rounded":
        scale = size[0] / min(height, width)
        return round(height * scale), round(width * scale)
    if rule == "longest":
        scale = size[0] * 1.0 / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)
    if rule == "shortest-capped":
        return _capped(height, width, edge=size[0], cap=size[1])
    if rule == "shortest-capped-16":
        new = _capped(height, width, edge=size[0], cap=size[1], keep_tall=False)
        return new[0] // 16 * 16, new[1] // 16 * 16
    if rule == "within":
        scale = min(size[0] / height, size[1] / width)
        return int(height * scale), int(width * scale)
    if rule == "floored":
        return height // size[0] * size[0], width // size[1] * size[1]
    if rule in ("contain", "cover"):
        ratios = (height / size[0], width / size[1])
        ratio = max(ratios) if rule == "contain" else min(ratios)
        return round(height / ratio), round(width / ratio)
    raise CheckpointError(f"expected one of {', '.join(get_args(SizeRule))} as the rule of a resize, got {rule!r}.")


def _floored(height: int, width: int, size: tuple[int, int], multiple: int) -> tuple[int, int]:
    edge, cap = size
    wide = height < width
    new = (float(edge), width * (edge / height)) if wide else (height * (edge / width), float(edge))
    if max(new) > cap:
        scale = cap / max(new)
        new = (new[0] * scale, new[1] * scale)
    return int(new[0] + 0.5) // multiple * multiple, int(new[1] + 0.5) // multiple * multiple


def _nearest(height: int, width: int, size: tuple[int, int], multiple: int) -> tuple[int, int]:
    scales = size[0] / height, size[1] / width
    scale = scales[1] if abs(1 - scales[1]) < abs(1 - scales[0]) else scales[0]
    return round(scale * height / multiple) * multiple, round(scale * width / multiple) * multiple


def _capped(height: int, width: int, *, edge: int, cap: int, keep_tall: bool = True) -> tuple[int, int]:
    short, long = float(min(height, width)), float(max(height, width))
    exact: float = edge
    if long / short * edge > cap:
        exact = cap * short / long
        edge = round(exact)
    if min(height, width) == edge and (keep_tall or height <= width):
        return height, width
    if width < height:
        return int(exact * height / width), edge
    return edge, int(exact * width / height)


def resample(image: Tensor, size: tuple[int, int], *, mode: Resample, pillow: bool, antialias: bool = True) -> Tensor:
    """Resample a picture to (height, width), antialiased; nearest is not.

    Args:
        image: `(3, H, W)` uint8 or float32. On a device it is resampled there, to the CPU's level or the next one to
            it; what cannot be, comes back on the CPU.
        size: (height, width), px.
        mode: the kernel.
        pillow: use Pillow's, not torch's.
        antialias: widen the kernel where the picture shrinks; Pillow always does.
    """
    if image.device.type != "cpu":
        if resamples_on_device(image, size, mode):
            return resample_on_device(image, size, mode, antialias=antialias or pillow)
        image = image.cpu()
    if pillow:
        return _resample_pillow(image, size, mode)
    from torchvision.transforms import InterpolationMode  # torchvision takes a while, and sounds and texts need none
    from torchvision.transforms.v2 import functional as tvF

    if size == (1, 1):  # where torch takes the strides of such a result for others, and asserts that they are not
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    # torchvision decides per mode, version and machine whether bytes are resampled as bytes: what it does, the
    # reference does. One uint8 picture is never split over threads, so worker threads do not oversubscribe.
    return tvF.resize_image(image, list(size), interpolation=InterpolationMode(_TORCH_MODES[mode]), antialias=antialias)  # type: ignore[no-any-return]


def blurred(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture blurred as scikit-image does before it shrinks one to (height, width); as it is where a side does not.

    Args:
        image: `(3, H, W)` float32.
        size: what it will be resized to, px.
    """
    from torchvision.transforms.v2 import functional as tvF

    factors = torch.tensor(image.shape[1:]) / torch.tensor(size)
    sigma = ((factors - 1) / 2).clamp(min=0)
    if bool((sigma == 0).any()):
        return image
    kernel = (2 * torch.ceil(3 * sigma).int() + 1).tolist()
    return tvF.gaussian_blur(image, kernel, sigma=sigma.tolist())  # type: ignore[no-any-return]


def torch_resamples(mode: str) -> bool:
    """Whether the installed torch and torchvision resample in this mode on the CPU."""
    if mode == "lanczos":
        probe = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        try:
            torch.nn.functional.interpolate(probe, size=(4, 4), mode="lanczos", antialias=True, align_corners=False)
        except (NotImplementedError, ValueError, RuntimeError):
            return False
        return True
    return mode in _TORCH_MODES


def _resample_pillow(image: Tensor, size: tuple[int, int], mode: Resample) -> Tensor:
    kernel = Image.Resampling[mode.upper()]
    if image.dtype == torch.uint8:
        pil_image = Image.fromarray(to_numpy_hwc(image))
        return torch.from_numpy(np.array(pil_image.resize((size[1], size[0]), kernel))).permute(2, 0, 1)
    planes = [Image.fromarray(plane.numpy()).resize((size[1], size[0]), kernel) for plane in image]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))


def pad_centred(image: Tensor, size: tuple[int, int], *, fill: tuple[int, int, int]) -> Tensor:
    """Grow a picture to at least (height, width) with equal borders, the odd px right and below.

    Args:
        image: `(3, H, W)` uint8, or float32 in [0, 255].
        size: (height, width), px.
        fill: the borders' value in [0, 255] for each channel.
    """
    old_height, old_width = image.shape[1:]
    height, width = max(old_height, size[0]), max(old_width, size[1])
    if (height, width) == (old_height, old_width):
        return image
    canvas = image.new_full((height, width, 3), fill[0]).permute(2, 0, 1)
    for channel, value in enumerate(fill):
        if value != fill[0]:
            canvas[channel] = value
    top, left = (height - old_height) // 2, (width - old_width) // 2
    canvas[:, top : top + old_height, left : left + old_width] = image
    return canvas


def luma(pixels: Tensor) -> Tensor:
    """`(B, 3, H, W)` float32 RGB as `(B, 1, H, W)` grey, by the weights of ITU-R BT.601 to four digits."""
    red, green, blue = pixels.split(1, dim=1)
    grey: Tensor = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return grey


def to_numpy_hwc(image: Tensor) -> np.ndarray[Any, Any]:
    """`(3, H, W)` as a contiguous `(H, W, 3)` array, as Pillow takes it."""
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
