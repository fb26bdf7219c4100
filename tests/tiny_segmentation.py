"""Tiny random segmenters of real architectures, saved to folders with their processors."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests import tiny_depth, tiny_detection
from tests.media import make_images
from tests.passing import passing_folder
from tests.tiny import _liven
from tests.tiny_text import clip_pairs

SIZE = {"height": 64, "width": 64}
CAPPED = {"shortest_edge": 64, "longest_edge": 128}
LABELS = 9
_RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_VIT = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_SWIN = {
    "model_type": "swin",
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": _STAGES,
}
_CONVNEXT = {
    "model_type": "convnext",
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "out_features": _STAGES,
}
_UPERNET = {"hidden_size": 16, "pool_scales": [1, 2], "auxiliary_channels": 8, "auxiliary_in_channels": 16}
_BEIT = {
    **_VIT,
    "image_size": 64,
    "patch_size": 8,
    "out_indices": [1, 2, 3, 4],
    "pool_scales": [1, 2],
    "auxiliary_channels": 8,
    "use_relative_position_bias": True,
}
_DETR = {
    "backbone_config": {**_RESNET, "out_features": _STAGES},
    "d_model": 32,
    "num_queries": 12,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
}
_MASK_FORMER = {
    "backbone_config": _SWIN,
    "fpn_feature_size": 32,
    "mask_feature_size": 32,
    "decoder_config": {
        "model_type": "detr",
        "d_model": 16,
        "num_queries": 12,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 16,
    },
}
_MASK2FORMER = {
    "backbone_config": _SWIN,
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "num_queries": 12,
}
_EOMT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
    "patch_size": 8,
    "num_blocks": 2,
    "num_queries": 12,
    "num_upscale_blocks": 1,
}
_ONEFORMER = {
    "backbone_config": _SWIN,
    "conv_dim": 32,
    "mask_dim": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "num_queries": 12,
    "task_seq_len": 24,
}
_SQUARE = {"size": {"shortest_edge": 64, "longest_edge": 64}, "do_pad": True}

ARCHITECTURES = {
    "segformer": (
        "segformer",
        {
            "hidden_sizes": [8, 16, 16, 24],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 2],
            "decoder_hidden_size": 16,
        },
        "SegformerImageProcessor",
        {"size": SIZE},
    ),
    "beit": ("beit", _BEIT, "BeitImageProcessor", {"size": SIZE, "do_center_crop": False}),
    "data2vec-vision": ("data2vec-vision", _BEIT, "BeitImageProcessor", {"size": SIZE, "do_center_crop": False}),
    "upernet-convnext": (
        "upernet",
        {**_UPERNET, "backbone_config": _CONVNEXT},
        "SegformerImageProcessor",
        {"size": SIZE},
    ),
    "upernet-swin": (
        "upernet",
        {**_UPERNET, "auxiliary_in_channels": 32, "backbone_config": _SWIN},
        "SegformerImageProcessor",
        {"size": SIZE},
    ),
    "mobilevit": (
        "mobilevit",
        {
            "image_size": 128,
            "hidden_sizes": [8, 8, 8],
            "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 8],
            "aspp_out_channels": 8,
            "atrous_rates": [1, 2, 3],
        },
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 144}, "crop_size": {"height": 128, "width": 128}},
    ),
    "mobilevitv2": (
        "mobilevitv2",
        {"image_size": 128, "width_multiplier": 0.25, "aspp_out_channels": 8, "atrous_rates": [1, 2, 3]},
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 144}, "crop_size": {"height": 128, "width": 128}},
    ),
    "mobilenet_v2": (
        "mobilenet_v2",
        {"image_size": 128, "depth_multiplier": 0.25},
        "MobileNetV2ImageProcessor",
        {"size": {"shortest_edge": 144}, "crop_size": {"height": 128, "width": 128}},
    ),
    "dpt": (
        "dpt",
        {
            **_VIT,
            "image_size": 64,
            "patch_size": 16,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [8, 8, 8, 8],
            "fusion_hidden_size": 8,
            "auxiliary_loss_weight": 0.4,
        },
        "DPTImageProcessor",
        {"size": SIZE},
    ),
    "detr": ("detr", _DETR, "DetrImageProcessor", {"size": CAPPED}),
    "maskformer": ("maskformer", _MASK_FORMER, "MaskFormerImageProcessor", {"size": CAPPED, "size_divisor": 32}),
    "mask2former": ("mask2former", _MASK2FORMER, "Mask2FormerImageProcessor", {"size": CAPPED, "size_divisor": 32}),
}
ARCHITECTURES |= {
    "eomt": ("eomt", {**_EOMT, "mlp_ratio": 2}, "EomtImageProcessor", _SQUARE),
    "eomt_dinov3": ("eomt_dinov3", _EOMT, "EomtImageProcessor", _SQUARE),
    "eomt-squares": (
        "eomt",
        {**_EOMT, "mlp_ratio": 2},
        "EomtImageProcessor",
        {"size": {"shortest_edge": 64}, "do_split_image": True},
    ),
}
ARCHITECTURES["sapiens2"] = (
    "sapiens2",
    {
        **_VIT,
        "num_key_value_attention_heads": 2,
        "num_first_full_attention_layers": 2,
        "num_last_full_attention_layers": 2,
        "num_register_tokens": 1,
        "image_size": [64, 64],
        "patch_size": 8,
        "head_config": {
            "upsample_out_channels": [16, 16],
            "upsample_kernel_sizes": [4, 4],
            "conv_out_channels": [16],
            "conv_kernel_sizes": [1],
        },
    },
    "Sapiens2ImageProcessor",
    {"size": SIZE},
)
ARCHITECTURES["tipsv2_dpt"] = ("tipsv2_dpt", *tiny_depth.ARCHITECTURES["tipsv2_dpt"][1:])
ARCHITECTURES["oneformer"] = ("oneformer", _ONEFORMER, "OneFormerImageProcessor", {"size": CAPPED})
ARCHITECTURES["rf_detr"] = (
    "rf_detr",
    tiny_detection.ARCHITECTURES["rf_detr"][0],
    "RfDetrImageProcessor",
    {"size": SIZE},
)
QUERIES = ["detr", "maskformer", "mask2former"]
EOMT = ["eomt", "eomt_dinov3"]
SEMANTIC = [name for name in ARCHITECTURES if name not in (*QUERIES, *EOMT, "eomt-squares", "oneformer", "rf_detr")]


def model_class(model_type):
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto as auto

    config = type(AutoConfig.for_model(model_type))
    semantic = auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING
    universal = auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING
    tables = (semantic, universal, auto.MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING)
    return next(table[config] for table in tables if config in table)


@functools.cache
def folder(name: str, *, labels: int = LABELS) -> Path:
    """A checkpoint folder of this architecture with random weights and its processor."""
    import transformers
    from transformers import AutoConfig

    model_type, settings, processor, recipe = ARCHITECTURES[name]
    names = {i: f"thing {i}" for i in range(labels)}
    config = AutoConfig.for_model(model_type, **settings)
    config.id2label, config.label2id = names, {v: k for k, v in names.items()}
    torch.manual_seed(0)
    model = model_class(model_type)(config)
    _liven(model)
    if name == "eomt_dinov3":  # as training ends; without it queries see their own masks only in the last blocks
        model.attn_mask_probs.zero_()
    processor = getattr(transformers, processor)(**recipe)
    if name == "oneformer":
        processor = transformers.OneFormerProcessor(processor, clip_pairs(), task_seq_length=config.task_seq_len)
    if name == "rf_detr":
        tiny_detection._spread(model.eval())
    else:
        _spread(model.eval(), processor, labels)
    place = passing_folder(f"sensorium-{name}-")
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def _spread(model, processor, labels: int) -> None:
    """Gives the classes and masks about equal chances, so that pictures have many segments, as they do when trained."""
    gains = {labels: 1.0, labels + 1: 3.0}
    finals = {"mask_projection": 1.0, "mask_head.out_lay": 2.0, "mask_head.fc3": 8.0, "mask_embed.layers.2.0": 0.2}
    task = {"task_inputs": ["panoptic"] * len(make_images())} if model.config.model_type == "oneformer" else {}
    inputs = processor(images=make_images(), return_tensors="pt", **task)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "queries_" in name or "query_position" in name:
                parameter.normal_(0, 3)
        if "mobile" in model.config.model_type:  # deep, with normalisation everywhere: without this, signals fade out
            for module in model.modules():
                module.momentum = 1.0  # of batch normalisation: the running statistics become those of these pictures
            model.train()(**inputs)
            model.eval()
    for name, module in model.named_modules():
        features = getattr(module, "out_channels", getattr(module, "out_features", 0))
        final = next((gain for ending, gain in finals.items() if name.endswith(ending)), None)
        if "auxiliary" in name or not isinstance(features, int) or getattr(module, "bias", None) is None:
            continue
        if not (final or features in gains):
            continue
        seen = []
        with torch.no_grad():
            hook = module.register_forward_hook(lambda _, __, output, seen=seen: seen.append(output))
            model(**inputs)
            hook.remove()
            values = seen[-1].movedim(-1 if isinstance(module, torch.nn.Linear) else 1, 0).flatten(1)
            scale = (final or gains[features]) / values.std(1).clamp_min(1e-3)
            module.weight.mul_(scale.view(-1, *[1] * (module.weight.ndim - 1)))
            module.bias.sub_(values.mean(1)).mul_(scale)
