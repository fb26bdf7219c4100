"""NumPy arrays and torch tensors that hold a picture already → `(3, H, W)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.errors import InputError
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS = (1, 3, 4)
ROUNDING = 1e-6  # above float32's, far below a grey level


def from_array(array: np.ndarray[Any, Any], *, name: str, limits: MediaLimits) -> Tensor:
    """Take an array as a picture; see `from_tensor` for layouts, dtypes and errors."""
    return from_tensor(_as_tensor(array, name=name), name=name, limits=limits)


def channels_of_array(array: np.ndarray[Any, Any], *, name: str, limits: MediaLimits) -> Tensor:
    """Take an array as a picture with all it holds; see `channels_of_tensor`."""
    return channels_of_tensor(_as_tensor(array, name=name), name=name, limits=limits)


def _as_tensor(array: np.ndarray[Any, Any], *, name: str) -> Tensor:
    import torch

    if array.dtype.kind not in "bufi" or array.dtype.itemsize > 8:
        raise _bad_dtype(name, array.dtype)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch shares memory only where it may write and strides go up
    return torch.from_numpy(array)


def from_tensor(tensor: Tensor, *, name: str, limits: MediaLimits) -> Tensor:
    """Take a tensor as a picture.

    Args:
        tensor: `(H, W)`, `(C, H, W)` or `(H, W, C)` with 1, 3 or 4 channels, on any device: the axis whose length is
            1, 3 or 4 is the channels'. Three are red, green and blue, in this order. uint8; bool;
            uint16 (its high byte is kept); or floating point in [0, 1]. Four channels are RGBA and
            are laid over white.
        name: what to call the input in an error.
        limits: `max_pixels` applies.

    Returns:
        `(3, H, W)` on the CPU: uint8, or float32 in [0, 255] for floating point. It may share the source's
        memory, so it is not to be written to.

    Raises:
        InputError: `bad-shape`, `bad-channels`, `ambiguous-layout`, `zero-sized`, `bad-dtype`, `not-finite`,
            `bad-range`, `unsupported-type` (sparse or meta tensors).
        LimitError: `too-many-pixels`.
    """
    pixels = _scaled(_checked(tensor, name=name, limits=limits), name=name)
    if len(pixels) == 1:
        return pixels[0, :, :, None].expand(-1, -1, 3).contiguous().permute(2, 0, 1)
    return _over_white(pixels) if len(pixels) == 4 else pixels


def channels_of_tensor(tensor: Tensor, *, name: str, limits: MediaLimits) -> Tensor:
    """Take a tensor as a picture with all it holds, as `from_tensor` takes it.

    Returns:
        `(C, H, W)` on the CPU, with as many channels as the source has: uint8 or uint16, or float32 in [0, 1].

    Raises:
        InputError: as `from_tensor`.
        LimitError: as `from_tensor`.
    """
    import torch

    pixels = _checked(tensor, name=name, limits=limits)
    if pixels.dtype == torch.uint16:
        return pixels
    scaled = _scaled(pixels, name=name)
    return (scaled / 255).clamp(0, 1) if scaled.is_floating_point() else scaled


def _checked(tensor: Tensor, *, name: str, limits: MediaLimits) -> Tensor:
    """`(C, H, W)` on the CPU, of any dtype."""
    import torch

    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
        raise InputError(
            f"{name}: expected a dense tensor with data, got layout {tensor.layout} on {tensor.device}. "
            f"Make it dense first.",
            code="unsupported-type",
            source=name,
        )
    pixels = _channels_first(tensor.detach(), name=name)
    limits.check_size(pixels.shape[2], pixels.shape[1], name=name)
    return pixels.cpu()


def _channels_first(pixels: Tensor, *, name: str) -> Tensor:
    if pixels.ndim == 2:
        return pixels[None]
    if pixels.ndim != 3:
        batch = " A 4-D batch is several pictures: pass its members." if pixels.ndim == 4 else ""
        raise InputError(
            f"{name}: expected shape (H, W), (H, W, C) or (C, H, W), got {tuple(pixels.shape)}.{batch}",
            code="bad-shape",
            source=name,
        )
    if pixels.shape[0] in CHANNELS and pixels.shape[2] in CHANNELS and pixels.numel():
        raise InputError(
            f"{name}: expected channels first or last, got shape {tuple(pixels.shape)}, which can be read both ways: "
            f"(C, H, W) or (H, W, C). Pass a PIL image: Image.fromarray(array) takes (H, W, C).",
            code="ambiguous-layout",
            source=name,
        )
    if pixels.shape[0] in CHANNELS:
        return pixels
    if pixels.shape[2] in CHANNELS:
        return pixels.permute(2, 0, 1)
    if 0 in pixels.shape:
        raise InputError(
            f"{name}: expected a picture of at least 1x1 px, got shape {tuple(pixels.shape)}.",
            code="zero-sized",
            source=name,
        )
    raise InputError(
        f"{name}: expected 1, 3 or 4 channels first or last, got shape {tuple(pixels.shape)}. "
        f"Select the channels that are to be seen as RGB.",
        code="bad-channels",
        source=name,
    )


def _scaled(pixels: Tensor, *, name: str) -> Tensor:
    """Bring any dtype to uint8, or to float32 in [0, 255]."""
    import torch

    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.dtype == torch.bool:
        return pixels.to(torch.uint8) * 255
    if pixels.dtype == torch.uint16:
        return (pixels.to(torch.int32) >> 8).to(torch.uint8)
    if not pixels.is_floating_point():
        raise _bad_dtype(name, pixels.dtype)
    pixels = pixels.to(torch.float32)
    low, high = (float(value) for value in torch.aminmax(pixels))  # NaN comes through as NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(
            f"{name}: expected finite values, got NaN or infinity. Replace them first (torch.nan_to_num).",
            code="not-finite",
            source=name,
        )
    if low < -ROUNDING or high > 1 + ROUNDING:
        advice = "Divide by 255, or pass uint8" if low >= 0 else "Pass the picture before it is normalised"
        raise InputError(
            f"{name}: expected floating-point values in [0, 1], got a minimum of {low:g} and a maximum of {high:g}. "
            f"{advice}.",
            code="bad-range",
            source=name,
        )
    return pixels * 255


def _over_white(pixels: Tensor) -> Tensor:
    """Lay RGBA over white with the arithmetic of Transformers' processors, their rounding included."""
    import torch
    from torchvision.transforms.v2.functional import to_dtype

    whole = not pixels.is_floating_point()
    unit = to_dtype(pixels, torch.float32, scale=True) if whole else pixels / 255
    blended = unit[:3] * unit[3:] + (1 - unit[3:])
    return to_dtype(blended, torch.uint8, scale=True) if whole else blended * 255


def _bad_dtype(name: str, dtype: object) -> InputError:
    return InputError(
        f"{name}: expected uint8, uint16, bool, or floating point in [0, 1], got {dtype}. "
        f"Cast it: array.astype('uint8') if its values are in [0, 255].",
        code="bad-dtype",
        source=name,
    )
