"""Tiny random models of poses of real architectures, saved to folders with their processors."""

from __future__ import annotations

import functools

import torch

from tests.passing import passing_folder

SIZE = {"height": 64, "width": 48}
_BACKBONE = {
    "model_type": "vitpose_backbone",
    "image_size": [64, 48],
    "patch_size": [8, 8],
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "out_indices": [2],
}
_EXPERTS = {**_BACKBONE, "num_experts": 3, "part_features": 6}
SAPIENS = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_attention_heads": 2,
    "num_first_full_attention_layers": 1,
    "num_last_full_attention_layers": 1,
    "num_register_tokens": 1,
    "image_size": [64, 48],
    "patch_size": 8,
    "num_labels": 21,
    "head_config": {
        "upsample_out_channels": [16, 16],
        "upsample_kernel_sizes": [4, 4],
        "conv_out_channels": [16],
        "conv_kernel_sizes": [1],
    },
}
NAMES = {i: f"joint {i}" for i in range(6)}

ARCHITECTURES = {
    "vitpose": ("vitpose", {"backbone_config": _BACKBONE, "num_labels": 17}),
    "vitpose-classic": ("vitpose", {"backbone_config": _BACKBONE, "num_labels": 17, "use_simple_decoder": False}),
    "vitpose-experts": ("vitpose", {"backbone_config": _EXPERTS, "num_labels": 17}),
    "vitpose-named": (
        "vitpose",
        {
            "backbone_config": {**_BACKBONE, "out_indices": [1]},
            "id2label": NAMES,
            "label2id": {label: i for i, label in NAMES.items()},
            "edges": [[0, 1], [1, 5]],
        },
    ),
    "sapiens2": ("sapiens2", SAPIENS),
}
"""By name the model type and the settings."""


@functools.cache
def folder(name):
    """A checkpoint whose heat maps have peaks, as trained ones do, and differ from one person to another."""
    import transformers

    model_type, settings = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **settings)
    model = transformers.AutoModelForPoseEstimation.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    _to_height_one(model)
    place = passing_folder(f"tiny-{name}-")
    model.save_pretrained(place)
    kind = transformers.VitPoseImageProcessor if model_type == "vitpose" else transformers.Sapiens2ImageProcessor
    kind(size=SIZE).save_pretrained(place)
    return place


def _to_height_one(model):
    """Scales the last layer until maps of noise reach from about 0 to 1."""
    last = model.head.conv if hasattr(model, "head") else model.decode_head.predictor
    given = {"dataset_index": torch.zeros(4, dtype=torch.int64)} if hasattr(model, "head") else {}
    pixels = torch.randn(4, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = model(pixels, **given).heatmaps
        low, high = maps.flatten(2).amin(2).mean(), maps.flatten(2).amax(2).mean()
        last.weight.div_(high - low)
        last.bias.copy_((last.bias - low) / (high - low) - 0.1)
