"""From what a model gives to depths at a picture's own size, as each family's reference does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sensorium.processors.borders import PadReflected

INVERSE = (1e-4, 1e4)
"""Bounds of Depth Pro's inverse depths, 1/m."""


@dataclass(frozen=True)
class DepthFamily:
    """How a family of models tells depths.

    Attributes:
        metric: whether they are metres; None where the checkpoint's `depth_estimation_type` says it.
        mode: how they are brought to the picture's size.
        align_corners: whether the centres of the corner pixels stay where they are.
        prompted: whether the model takes a depth as a prompt, and then gives its unit.
        inverse: whether it gives inverse depths for a camera whose focal length is the picture's width.
        routed: whether it may have several heads, of which each picture takes one.
    """

    metric: bool | None
    mode: Literal["bicubic", "bilinear"] = "bicubic"
    align_corners: bool = False
    prompted: bool = False
    inverse: bool = False
    routed: bool = False


FAMILIES = {
    "chmv2": DepthFamily(metric=True, mode="bilinear", align_corners=True),
    "depth_anything": DepthFamily(metric=None),
    "depth_pro": DepthFamily(metric=True, mode="bilinear", inverse=True),
    "dpt": DepthFamily(metric=False),
    "glpn": DepthFamily(metric=True),
    "prompt_depth_anything": DepthFamily(metric=False, prompted=True),
    "tipsv2_dpt": DepthFamily(metric=True, mode="bilinear"),
    "zoedepth": DepthFamily(metric=True, routed=True),
}
"""By model type."""


class DepthFrame(NamedTuple):
    """What has to be known of a picture when its depths are brought to its size.

    Attributes:
        size: (H, W), px.
        low: the least depth of its prompt, m; None without one.
        span: from the least depth of its prompt to the largest, m.
    """

    size: tuple[int, int]
    low: float | None = None
    span: float = 1.0


def resized(depth: Tensor, frame: DepthFrame, mode: str, *, align_corners: bool = False) -> Tensor:
    """`(H, W)` float32, depths at the picture's size, from `(h, w)` at the model's."""
    corners = align_corners if mode in ("bicubic", "bilinear") else None
    large: Tensor = interpolate(depth.float()[None, None], size=frame.size, mode=mode, align_corners=corners)[0, 0]
    return large if frame.low is None else large * frame.span + frame.low


def unpadded(depth: Tensor, frame: DepthFrame, border: PadReflected, mode: str) -> Tensor:
    """As `resized`, of a picture around which a border was mirrored before the model saw it."""
    down, across = border.widths(*frame.size)
    height, width = frame.size
    whole = resized(depth, frame._replace(size=(height + 2 * down, width + 2 * across)), mode)
    return whole[down : down + height, across : across + width]


def focal_lengths(fields_of_view: Tensor, widths: Tensor) -> Tensor:
    """`(B,)` focal lengths in px, for cameras whose pictures of these widths, px, span so many degrees across."""
    return 0.5 * widths / torch.tan(0.5 * torch.deg2rad(fields_of_view))


def from_inverse(inverse: Tensor) -> Tensor:
    """Metres from inverse depths, which are bounded."""
    return inverse.clamp(*INVERSE).reciprocal()
