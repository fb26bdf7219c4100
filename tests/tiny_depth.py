"""Tiny random models of depth of real architectures, saved to folders with their processors."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.media import make_image
from tests.passing import passing_folder

SIZE = {"height": 64, "width": 64}
KEPT = {"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}
_VIT = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
_NECK = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}
_DINOV2 = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": 56,
    "patch_size": 14,
    "out_indices": [1, 2, 3, 4],
    "reshape_hidden_states": False,
    "apply_layernorm": True,
}
_ANYTHING = {
    "backbone_config": _DINOV2,
    "patch_size": 14,
    "reassemble_hidden_size": 16,
    "head_hidden_size": 8,
    **_NECK,
}
_BIT = {
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 32],
    "depths": [1, 1, 1],
    "num_groups": 4,
    "global_padding": "same",
    "layer_type": "bottleneck",
    "out_features": ["stage1", "stage2", "stage3"],
    "embedding_dynamic_padding": True,
}
_BEIT = {
    **_VIT,
    "model_type": "beit",
    "image_size": 64,
    "patch_size": 16,
    "use_relative_position_bias": True,
    "reshape_hidden_states": False,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
_ZOE = {
    **_NECK,
    "backbone_config": _BEIT,
    "bottleneck_features": 8,
    "num_relative_features": 4,
    "num_attractors": [4, 2, 2, 1],
    "bin_embedding_dim": 8,
}
_DOMAINS = [
    {"name": "nyu", "n_bins": 8, "min_depth": 0.001, "max_depth": 10.0},
    {"name": "kitti", "n_bins": 8, "min_depth": 0.001, "max_depth": 80.0},
]
_ROUTED = {
    **_ZOE,
    "bin_configurations": _DOMAINS,
    "num_attractors": [8, 8, 8, 8],
    "num_patch_transformer_layers": 4,
    "patch_transformer_hidden_size": 128,
    "patch_transformer_intermediate_size": 16,
    "patch_transformer_num_attention_heads": 4,
}
_ZOE_RECIPE = {"size": {"height": 48, "width": 64}, "ensure_multiple_of": 16}
_PATCH = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": 32,
    "patch_size": 8,
}
_PRO = {
    "patch_size": 32,
    "image_model_config": _PATCH,
    "patch_model_config": _PATCH,
    "fov_model_config": _PATCH,
    "intermediate_hook_ids": [1, 0],
    "intermediate_feature_dims": [8, 8],
    "scaled_images_feature_dims": [8, 8, 8],
    "fusion_hidden_size": 8,
}

ARCHITECTURES = {
    "dpt": (
        "dpt",
        {**_VIT, **_NECK, "image_size": 64, "patch_size": 16, "backbone_out_indices": [0, 1, 2, 3]},
        "DPTImageProcessor",
        {"size": SIZE},
    ),
    "dpt-hybrid": (
        "dpt",
        {
            **_VIT,
            "is_hybrid": True,
            "backbone_config": _BIT,
            "backbone_featmap_shape": [1, 32, 4, 4],
            "image_size": 64,
            "patch_size": 16,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [8, 16, 8, 8],
            "fusion_hidden_size": 8,
        },
        "DPTImageProcessor",
        {"size": SIZE},
    ),
    "dpt-dinov2": ("dpt", {**_NECK, "backbone_config": _DINOV2}, "DPTImageProcessor", KEPT),
    "depth_anything": ("depth_anything", _ANYTHING, "DPTImageProcessor", KEPT),
    "depth_anything-metric": (
        "depth_anything",
        {**_ANYTHING, "depth_estimation_type": "metric", "max_depth": 20},
        "DPTImageProcessor",
        KEPT,
    ),
    "prompt_depth_anything": ("prompt_depth_anything", _ANYTHING, "PromptDepthAnythingImageProcessor", KEPT),
    "glpn": (
        "glpn",
        {
            "hidden_sizes": [8, 16, 16, 24],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 2],
            "decoder_hidden_size": 8,
        },
        "GLPNImageProcessor",
        {},
    ),
    "zoedepth": (
        "zoedepth",
        {**_ZOE, "bin_configurations": [{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}]},
        "ZoeDepthImageProcessor",
        _ZOE_RECIPE,
    ),
    "zoedepth-domains": ("zoedepth", _ROUTED, "ZoeDepthImageProcessor", _ZOE_RECIPE),
    "depth_pro": (
        "depth_pro",
        {**_PRO, "use_fov_model": True},
        "DepthProImageProcessor",
        {"size": {"height": 128, "width": 128}},
    ),
    "depth_pro-no-fov": ("depth_pro", _PRO, "DepthProImageProcessor", {"size": {"height": 128, "width": 128}}),
    "chmv2": (
        "chmv2",
        {
            "backbone_config": {
                **_VIT,
                "model_type": "dinov3_vit",
                "image_size": 64,
                "patch_size": 16,
                "num_register_tokens": 2,
                "out_indices": [1, 2, 3, 4],
                "reshape_hidden_states": True,
                "apply_layernorm": True,
                "return_class_token": True,
            },
            "post_process_channels": [8, 8, 8, 8],
            "fusion_hidden_size": 8,
            "head_hidden_size": 8,
            "number_output_channels": 16,
        },
        "CHMv2ImageProcessor",
        {},
    ),
    "tipsv2_dpt": (
        "tipsv2_dpt",
        {
            **_NECK,
            "backbone_config": {
                **_VIT,
                "model_type": "tipsv2_vision_model",
                "image_size": 56,
                "patch_size": 14,
                "out_indices": [1, 2, 3, 4],
                "apply_layernorm": True,
                "reshape_hidden_states": False,
            },
            "num_depth_bins": 16,
        },
        "Tipsv2DptImageProcessor",
        {"size": {"height": 56, "width": 56}},
    ),
}
SIZES = [(64, 48), (48, 64), (40, 40), (33, 97), (64, 48), (128, 50)]
DELEGATED = {"chmv2"}
"""Whose processor pads all around, and runs as it is."""


def images():
    """Six pictures of five sizes, each side at least 32 px, as GLPN needs them."""
    return [make_image(width, height, seed) for seed, (width, height) in enumerate(SIZES)]


@functools.cache
def folder(name: str) -> Path:
    """A checkpoint folder of this architecture with random weights and its processor."""
    import transformers
    from transformers import AutoConfig, AutoModelForDepthEstimation

    model_type, settings, processor, recipe = ARCHITECTURES[name]
    torch.manual_seed(0)
    model = AutoModelForDepthEstimation.from_config(AutoConfig.for_model(model_type, **settings)).eval()
    processor = getattr(transformers, processor)(**recipe)
    spread(model, lambda image: processor(images=image, return_tensors="pt"))
    place = passing_folder(f"sensorium-{name}-")
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def spread(model, prepare) -> None:
    """Makes every parameter count, has each convolution tell places apart, and the last ones give what is to be made.

    There are few normalisations in these models: with random weights signals would fade or grow from layer to layer.

    Args:
        model: one of random weights.
        prepare: what makes a picture its inputs.
    """
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 0:
                tensor.add_(0.2 * (torch.rand(tensor.shape) - 0.5))
    head = model.head.modules() if hasattr(model, "head") else ()
    middles = dict.fromkeys([each for each in head if getattr(each, "out_channels", 0) == 1][-1:], 2.0)
    if getattr(model, "fov_model", None) is not None:
        middles[model.fov_model.head.layers[-1]] = 50.0
    convolutions = [each for each in model.modules() if isinstance(each, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    _centre(model, prepare, dict.fromkeys(convolutions, 0.0) | middles)
    if hasattr(getattr(model, "metric_head", None), "mlp_classifier"):
        _centre(model, prepare, {model.metric_head.mlp_classifier.linear2: 0.0}, together=True)
        _centre(model, prepare, dict.fromkeys(convolutions, 0.0))  # those of the head that was not taken before


def _centre(model, prepare, middles, *, together=False) -> None:
    """Scales what layers give to a middle and a spread of 1: at once where they are met, or over all pictures."""
    done, values = set(), {layer: [] for layer in middles}

    def scale(layer, output):
        channels = output.movedim(-1 if isinstance(layer, torch.nn.Linear) else 1, 0).flatten(1)
        spread = channels.std().clamp_min(1e-6) if channels.numel() > 1 else 1.0
        layer.weight.div_(spread)
        if layer.bias is not None:
            layer.bias.sub_(channels.mean(1) if together else channels.mean()).div_(spread).add_(middles[layer])

    def met(layer, given, output):
        values[layer].append(output)
        if together or layer in done:
            return None
        done.add(layer)
        scale(layer, output)
        return type(layer).forward(layer, *given)

    hooks = [layer.register_forward_hook(met) for layer in middles]
    with torch.no_grad():
        for image in images():
            model(**prepare(image))
        for layer in middles if together else ():
            scale(layer, torch.cat(values[layer]))
    for hook in hooks:
        hook.remove()
