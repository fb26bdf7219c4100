"""Backbones: tensors in, features out. `AutoBackbone` loads one from Transformers or timm."""

from sensorium.backbones.auto import AutoBackbone
from sensorium.backbones.backbone import Backbone, BackboneOutput

__all__ = ["AutoBackbone", "Backbone", "BackboneOutput"]
