"""Which reader knows a Transformers image processor that has steps of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sensorium.processors.recipe import Recipe
from sensorium.processors.recipe_classifiers import (
    read_base,
    read_convnext,
    read_dinov3,
    read_efficientnet,
    read_levit,
    read_mobilevit,
    read_perceiver,
    read_poolformer,
    read_pplcnet,
    read_segformer,
    read_siglip2,
    read_textnet,
    read_unpadded,
    read_vilt,
    read_vivit,
)
from sensorium.processors.recipe_finders import (
    read_depth_pro,
    read_detr,
    read_dpt,
    read_eomt,
    read_glpn,
    read_mask_former,
    read_oneformer,
    read_owlv2,
    read_pp_doclayout,
    read_rf_detr,
    read_sam,
    read_sapiens2,
    read_superglue,
    read_superpoint,
    read_swin2sr,
    read_vitmatte,
    read_vitpose,
    read_yolos,
    read_zoedepth,
)

_DETR = {"_preprocess", "pad", "preprocess", "resize"}
_PAIRS = {"_prepare_images_structure", "_preprocess", "preprocess"}
# These three sort segmentation maps from pictures, and leave the pictures as they are.
_MAPS = {"preprocess", "_preprocess_image_like_inputs", "_preprocess"}

OVERRIDES: dict[str, tuple[Callable[[Any], Recipe], set[str]]] = {
    "BeitImageProcessor": (read_unpadded, _MAPS),
    "ConditionalDetrImageProcessor": (read_detr, _DETR),
    "ConvNextImageProcessor": (read_convnext, {"_preprocess", "resize"}),
    "DINOv3ViTImageProcessor": (read_dinov3, {"_preprocess"}),
    "DPTImageProcessor": (read_dpt, {*_MAPS, "resize"}),
    "DeformableDetrImageProcessor": (read_detr, _DETR),
    "DepthProImageProcessor": (read_depth_pro, {"_preprocess"}),
    "DetrImageProcessor": (read_detr, _DETR),
    "EfficientLoFTRImageProcessor": (read_superglue, _PAIRS),
    "EfficientNetImageProcessor": (
        read_efficientnet,
        {"_fuse_mean_std_and_rescale_factor", "_preprocess", "rescale"},
    ),
    "EomtImageProcessor": (read_eomt, _MAPS),
    "GLPNImageProcessor": (read_glpn, {"_preprocess", "_validate_preprocess_kwargs", "preprocess", "resize"}),
    "GroundingDinoImageProcessor": (read_detr, _DETR),
    "LevitImageProcessor": (read_levit, {"resize"}),
    "LightGlueImageProcessor": (read_superglue, _PAIRS),
    "Mask2FormerImageProcessor": (read_mask_former, {*_MAPS, "pad", "resize"}),
    "MaskFormerImageProcessor": (read_mask_former, {*_MAPS, "pad", "resize"}),
    "MobileNetV2ImageProcessor": (read_unpadded, _MAPS),
    "MobileViTImageProcessor": (read_mobilevit, _MAPS),
    "OneFormerImageProcessor": (read_oneformer, {*_MAPS, "pad"}),
    "Owlv2ImageProcessor": (read_owlv2, {"_preprocess", "pad", "resize"}),
    "PPDocLayoutV2ImageProcessor": (read_pp_doclayout, {"_preprocess"}),
    "PPDocLayoutV3ImageProcessor": (read_pp_doclayout, {"_preprocess"}),
    "PPLCNetImageProcessor": (read_pplcnet, {"_preprocess"}),
    "PerceiverImageProcessor": (read_perceiver, {"_preprocess", "center_crop"}),
    "PoolFormerImageProcessor": (read_poolformer, {"_preprocess", "resize"}),
    "PromptDepthAnythingImageProcessor": (read_dpt, _MAPS),
    "RTDetrImageProcessor": (read_detr, _DETR),
    "RfDetrImageProcessor": (read_rf_detr, _DETR),
    "Sam2ImageProcessor": (read_base, {*_MAPS, "_standardize_kwargs"}),
    "Sam2VideoVideoProcessor": (read_unpadded, {"_preprocess"}),
    "Sam3ImageProcessor": (read_base, {*_MAPS, "_standardize_kwargs"}),
    "SamImageProcessor": (read_sam, {*_MAPS, "_standardize_kwargs", "resize"}),
    "Sapiens2ImageProcessor": (read_sapiens2, _MAPS),
    "SegformerImageProcessor": (read_segformer, _MAPS),
    "SuperGlueImageProcessor": (read_superglue, _PAIRS),
    "SuperPointImageProcessor": (read_superpoint, {"_preprocess"}),
    "Siglip2ImageProcessor": (read_siglip2, {"_preprocess", "_validate_preprocess_kwargs", "preprocess"}),
    "Swin2SRImageProcessor": (read_swin2sr, {"_preprocess", "pad", "preprocess"}),
    "TextNetImageProcessor": (read_textnet, {"_preprocess", "preprocess", "resize"}),
    "TimesformerVideoProcessor": (read_unpadded, {"preprocess"}),
    "VideoMAEVideoProcessor": (read_unpadded, {"preprocess"}),
    "ViltImageProcessor": (read_vilt, {"_preprocess", "resize"}),
    "VivitVideoProcessor": (read_vivit, {"preprocess", "rescale_and_normalize"}),
    "VitMatteImageProcessor": (read_vitmatte, _MAPS),
    "VitPoseImageProcessor": (read_vitpose, _MAPS),
    "YolosImageProcessor": (read_yolos, _DETR),
    "ZoeDepthImageProcessor": (read_zoedepth, {"_preprocess", "preprocess", "resize"}),
}
"""Classes that override some of TorchvisionBackend's steps: how each is read, and exactly which steps those are."""
