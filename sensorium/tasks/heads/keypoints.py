"""A head that draws a heat map for each named keypoint, what it is trained on, and where its peaks are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.backbones import Backbone
from sensorium.backbones.backbone import BackboneOutput
from sensorium.errors import MissingWeightsError, UnknownNameError
from sensorium.tasks.heads import Head
from sensorium.tasks.options import Range, checked


class HeatMapHead(Head):
    """Feature maps to one heat map per keypoint: levels are brought to one width and resolution, added, and refined.

    As the "simple baselines" of pose estimation do it (Xiao, Wu, Wei, https://arxiv.org/abs/1804.06208), with the sum
    over levels of semantic FPN (Kirillov et al., https://arxiv.org/abs/1901.02446) where a backbone gives several maps.
    """

    kind = "heat-maps"

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_labels: int, *, width: int = 128) -> None:
        super().__init__()
        self.channels, self.strides, self.width = list(channels), list(strides), width
        self.scale = max(1, min(strides) // 4)  # maps of a quarter of the input's sides, or the backbone's finest
        self.laterals = nn.ModuleList(nn.Conv2d(map_channels, width, 1) for map_channels in channels)
        groups = math.gcd(32, width)
        self.refine = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(groups, width), nn.ReLU(inplace=True))
            for _ in range(2)
        )
        self.classify = nn.Conv2d(width, num_labels, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        assert self.classify.bias is not None  # it is there unless asked not to be
        nn.init.constant_(self.classify.bias, -4.0)  # nearly all of a heat map is cold

    @classmethod
    def build(cls, backbone: Backbone, labels: Sequence[str], *, width: int = 128, **options: Any) -> Self:
        """A head on all maps that the backbone gives (its `out_indices`).

        Args:
            backbone: gives the maps.
            labels: the names of the keypoints.
            width: channels inside the head.
            **options: none.
        """
        if options:
            raise UnknownNameError("option of a heat-map head", next(iter(options)), ["width"])
        width = checked("width", width, Annotated[int, Range(1, unit="channels")])
        if not backbone.channels:
            raise MissingWeightsError("this backbone gives no feature maps, on which heat maps are drawn.")
        return cls(backbone.channels, backbone.strides, len(labels), width=width)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], backbone: Backbone) -> Self:
        """The head of a composite's config."""
        width = config["sensorium"]["head"]["width"]
        return cls(backbone.channels, backbone.strides, len(config["id2label"]), width=width)

    def spec(self) -> dict[str, Any]:
        """Its width."""
        return {"width": self.width}

    def extract(self, backbone: Backbone, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The backbone's maps, `(B, C, H, W)` each."""
        output: BackboneOutput = backbone(pixel_values, feature_maps=True, pooled=False, tokens=False)
        return output.feature_maps

    def forward(self, features: Sequence[Tensor], **inputs: Tensor) -> Tensor:
        """Maps to heat maps' logits, `(B, num_labels, h, w)`; h and w are about a quarter of the input's sides."""
        finest = max((feature_map.shape[-2:] for feature_map in features), key=lambda size: size[0] * size[1])
        summed: Tensor | None = None
        for lateral, feature_map in zip(self.laterals, features, strict=True):
            level = _resized(lateral(feature_map), (finest[0], finest[1]))
            summed = level if summed is None else summed + level
        assert summed is not None  # a backbone without maps builds no head
        first, second = self.refine
        fine = _resized(first(summed), (finest[0] * self.scale, finest[1] * self.scale))
        logits: Tensor = self.classify(second(fine))
        return logits


def draw_heat_maps(xy: Tensor, *, size: tuple[int, int], sigma: float = 1.5, visible: Tensor | None = None) -> Tensor:
    """What heat maps should look like: 1 where the keypoint is, and falling off around it as a Gaussian.

    Train with `binary_cross_entropy_with_logits(composite(pixels).logits, draw_heat_maps(…))`.

    Args:
        xy: `(B, K, 2)` float, the keypoints in shares of the model's input: (0, 0) is its left upper corner, (1, 1) its
            right lower one.
        size: (h, w) of the heat maps, in cells.
        sigma: width of the Gaussian, in cells.
        visible: `(B, K)` bool; the map of a keypoint that is not visible stays cold.

    Returns:
        `(B, K, h, w)` float32 in [0, 1].
    """
    height, width = size
    x = xy[..., 0, None].float() * width - 0.5
    y = xy[..., 1, None].float() * height - 0.5
    columns = torch.exp(-((torch.arange(width, device=xy.device) - x) ** 2) / (2 * sigma**2))
    rows = torch.exp(-((torch.arange(height, device=xy.device) - y) ** 2) / (2 * sigma**2))
    maps = rows[..., :, None] * columns[..., None, :]
    return maps if visible is None else maps * visible[..., None, None]


def locate_peaks(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Where heat maps are hottest, to a fraction of a cell.

    The logarithm of a Gaussian is a parabola: one is laid through the hottest cell and its two neighbours along each
    axis (as DARK does it, Zhang et al., https://arxiv.org/abs/1910.06278, without its smoothing). Differentiable but
    for the choice of the cell.

    Args:
        logits: `(B, K, h, w)`.

    Returns:
        `xy`, `(B, K, 2)` float32 in shares of the model's input, as `draw_heat_maps` takes them; and scores, `(B, K)`
        float32 in [0, 1], the heat of the hottest cell.
    """
    heat = F.logsigmoid(logits.float())
    height, width = heat.shape[-2:]
    best, cell = heat.flatten(2).max(dim=2)
    row, column = cell // width, cell % width
    along_x = heat.gather(2, row[..., None, None].expand(-1, -1, 1, width))[:, :, 0]
    along_y = heat.gather(3, column[..., None, None].expand(-1, -1, height, 1))[..., 0]
    x = column + _vertex(along_x, column)
    y = row + _vertex(along_y, row)
    xy = torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=-1)
    return xy, best.exp()


def _vertex(values: Tensor, at: Tensor) -> Tensor:
    """How far the top of the parabola through `values` at `at` - 1, `at` and `at` + 1 lies from `at`; 0 at the ends."""
    last = values.shape[-1] - 1
    left, middle, right = (
        values.gather(-1, position.clamp(0, last)[..., None])[..., 0] for position in (at - 1, at, at + 1)
    )
    bend = left - 2 * middle + right
    inside = (at > 0) & (at < last) & (bend < 0)
    return torch.where(inside, 0.5 * (left - right) / torch.where(inside, bend, -1.0), 0.0)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
