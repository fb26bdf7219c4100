"""A head that gives every place of a picture a class, from a backbone's maps of several resolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.backbones import Backbone
from sensorium.errors import MissingWeightsError, UnknownNameError
from sensorium.tasks.heads import Head
from sensorium.tasks.options import Range, checked


class SegmentationHead(Head):
    """Feature maps to class logits: levels are brought to one width and to the finest resolution, added, and refined.

    The sum of linear layers is SegFormer's head (Xie et al., https://arxiv.org/abs/2105.15203), whose mixing of levels
    is linear too; it is taken before upsampling, where it costs least. One 3×3 convolution follows, as in FPN's heads.
    Groups, not batches, are normalised: pictures do not influence each other, in training either.
    """

    kind = "multi-scale"

    def __init__(self, channels: Sequence[int], num_labels: int, *, width: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.width = width
        self.levels = nn.ModuleList(nn.Conv2d(map_channels, width, 1) for map_channels in channels)
        groups = math.gcd(32, width)
        self.mix = nn.Sequential(nn.GroupNorm(groups, width), nn.ReLU(inplace=True))
        self.refine = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU(inplace=True)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, num_labels, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.constant_(self.classify.bias, 0.0)  # type: ignore[arg-type]  # it has one

    @classmethod
    def build(
        cls, backbone: Backbone, labels: Sequence[str], *, width: int = 256, dropout: float = 0.1, **options: Any
    ) -> Self:
        """A head on all maps that the backbone gives (its `out_indices`).

        Args:
            backbone: gives the maps.
            labels: one name for each class.
            width: channels inside the head.
            dropout: share of the channels dropped in training, in [0, 1).
            **options: none.
        """
        if options:
            raise UnknownNameError("option of a multi-scale head", next(iter(options)), ["width", "dropout"])
        width = checked("width", width, Annotated[int, Range(1, unit="channels")])
        dropout = checked("dropout", dropout, Annotated[float, Range(0, below=1)])
        if not backbone.channels:
            raise MissingWeightsError("this backbone gives no feature maps, from which a picture is segmented.")
        return cls(backbone.channels, len(labels), width=width, dropout=dropout)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], backbone: Backbone) -> Self:
        """The head of a composite's config."""
        spec = config["sensorium"]["head"]
        return cls(backbone.channels, len(config["id2label"]), width=spec["width"], dropout=spec.get("dropout", 0.0))

    def spec(self) -> dict[str, Any]:
        """Its width and dropout."""
        return {"width": self.width, "dropout": self.dropout.p}

    def extract(self, backbone: Backbone, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The backbone's maps, `(B, C, H, W)` each, from fine to coarse."""
        return backbone.forward(pixel_values, feature_maps=True, pooled=False, tokens=False).feature_maps

    def forward(self, features: Sequence[Tensor], **inputs: Tensor) -> Tensor:
        """Maps to logits, `(B, num_labels, h, w)` at the resolution of the finest map."""
        size = features[0].shape[2:]
        summed = self.levels[0](features[0])
        for level, feature_map in zip(list(self.levels)[1:], features[1:], strict=True):
            summed = summed + F.interpolate(level(feature_map), size=size, mode="bilinear", align_corners=False)
        logits: Tensor = self.classify(self.dropout(self.refine(self.mix(summed))))
        return logits
