"""Tiny random detectors of real architectures, saved to folders with their processors."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder

SIZE = {"shortest_edge": 64, "longest_edge": 224}
SQUARE = {"height": 64, "width": 64}
_RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_DETR = {
    "d_model": 32,
    "num_queries": 12,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
_DETR_RESNET = {**_DETR, "backbone_config": {**_RESNET, "out_features": ["stage4"]}}
_LEVELS = {**_RESNET, "out_features": ["stage2", "stage3", "stage4"]}
_RT_DETR_RESNET = {**_LEVELS, "model_type": "rt_detr_resnet", "layer_type": "basic"}
_RT_DETR = {
    "backbone_config": _RT_DETR_RESNET,
    "d_model": 32,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [8, 16, 16],
    "decoder_in_channels": [32, 32, 32],
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "decoder_layers": 2,
    "num_queries": 12,
    "hidden_expansion": 0.5,
}
_VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 16, "mlp_ratio": 1}
_GROUPED = {
    "d_model": 32,
    "num_queries": 12,
    "decoder_layers": 2,
    "decoder_ffn_dim": 32,
    "decoder_self_attention_heads": 4,
    "decoder_cross_attention_heads": 4,
    "group_detr": 2,
}

ARCHITECTURES = {
    "detr": (_DETR_RESNET, "DetrImageProcessor", {"size": SIZE}),
    "table-transformer": (_DETR_RESNET, "DetrImageProcessor", {"size": SIZE}),
    "conditional_detr": (_DETR_RESNET, "ConditionalDetrImageProcessor", {"size": SIZE}),
    "dab-detr": (
        {**{k: v for k, v in _DETR_RESNET.items() if k != "d_model"}, "hidden_size": 32},
        "ConditionalDetrImageProcessor",
        {"size": SIZE},
    ),
    "deformable_detr": (
        {**_DETR, "backbone_config": _LEVELS, "num_feature_levels": 3},
        "DeformableDetrImageProcessor",
        {"size": SIZE},
    ),
    "yolos": (
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 32,
            "image_size": [64, 96],
            "num_detection_tokens": 12,
        },
        "YolosImageProcessor",
        {"size": SIZE},
    ),
    "rt_detr": (_RT_DETR, "RTDetrImageProcessor", {"size": SQUARE}),
    "rt_detr_v2": (_RT_DETR, "RTDetrImageProcessor", {"size": SQUARE}),
    "d_fine": (_RT_DETR, "RTDetrImageProcessor", {"size": SQUARE}),
    "deimv2": (_RT_DETR, "RTDetrImageProcessor", {"size": SQUARE}),
    "pp_doclayout_v2": (
        {
            **_RT_DETR,
            "class_thresholds": [0.5] * 7,
            "class_order": [0, 1, 2, 3, 4, 5, 6],
            "reading_order_config": {
                "hidden_size": 32,
                "num_attention_heads": 4,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "coordinate_size": 6,
                "shape_size": 4,
                "global_pointer_head_size": 8,
            },
        },
        "PPDocLayoutV2ImageProcessor",
        {"size": SQUARE},
    ),
    "pp_doclayout_v3": (
        {
            **_RT_DETR,
            "backbone_config": {**_RT_DETR_RESNET, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
            "x4_feat_dim": 8,
            "mask_feature_channels": [8, 8],
            "num_prototypes": 8,
            "global_pointer_head_size": 8,
        },
        "PPDocLayoutV3ImageProcessor",
        {"size": SQUARE},
    ),
    "lw_detr": (
        {
            **_GROUPED,
            "backbone_config": {
                **_VIT,
                "model_type": "lw_detr_vit",
                "image_size": 64,
                "num_windows": 4,
                "window_block_indices": [0],
                "out_indices": [1, 2],
            },
            "projector_scale_factors": [1.0],
        },
        "DeformableDetrImageProcessor",
        {"size": SQUARE},
    ),
    "rf_detr": (
        {
            **_GROUPED,
            "backbone_config": {
                **_VIT,
                "model_type": "rf_detr_dinov2",
                "image_size": 64,
                "num_windows": 2,
                "out_features": ["stage1", "stage2"],
            },
        },
        "RfDetrImageProcessor",
        {"size": SQUARE},
    ),
}


@functools.cache
def folder(model_type: str, **recipe: object) -> Path:
    """A checkpoint folder of this architecture with seven labels, random weights and its processor.

    Args:
        model_type: one of `ARCHITECTURES`.
        recipe: what else the processor's config holds; a dict as a tuple of its items.
    """
    import transformers
    from transformers import AutoConfig, AutoModelForObjectDetection

    settings, processor, given = ARCHITECTURES[model_type]
    config = AutoConfig.for_model(model_type, **settings)
    config.id2label = {i: f"thing {i}" for i in range(7)}
    config.label2id = {label: i for i, label in config.id2label.items()}
    torch.manual_seed(0)
    model = AutoModelForObjectDetection.from_config(config)
    _spread(model)
    place = passing_folder(f"sensorium-{model_type}-")
    model.eval().save_pretrained(place)
    more = {name: dict(value) if isinstance(value, tuple) else value for name, value in recipe.items()}
    getattr(transformers, processor)(**given, **more).save_pretrained(place)
    return place


def _spread(model: torch.nn.Module) -> None:
    """Gives weights a width at which queries differ from each other, and moves biases and norms off their start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if not tensor.is_floating_point() or tensor.ndim == 0:
                continue
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
            elif isinstance(tensor, torch.nn.Parameter):
                width = 1.5 / tensor[0].numel() ** 0.5
                tensor.copy_(width * torch.randn(tensor.shape, generator=generator))
        for name, tensor in model.named_parameters():
            if "class" in name and tensor.ndim == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)  # not "hardly ever an object"
