"""Tiny random checkpoints of real architectures, built once a session and saved to folders."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder

SIZE = 32

_VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_CONV = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}

ARCHITECTURES = {
    "vit": ({**_VIT, "image_size": SIZE, "patch_size": 8}, "ViTImageProcessor", {}),
    "deit": ({**_VIT, "image_size": SIZE, "patch_size": 8}, "DeiTImageProcessor", {"crop_size": SIZE, "size": 36}),
    "beit": ({**_VIT, "image_size": SIZE, "patch_size": 8}, "BeitImageProcessor", {}),
    "data2vec-vision": ({**_VIT, "image_size": SIZE, "patch_size": 8}, "BeitImageProcessor", {}),
    "dinov2": ({**_VIT, "image_size": SIZE, "patch_size": 8, "mlp_ratio": 2}, "BitImageProcessor", {"crop_size": SIZE}),
    "dinov2_with_registers": (
        {**_VIT, "image_size": SIZE, "patch_size": 8, "mlp_ratio": 2},
        "BitImageProcessor",
        {"crop_size": SIZE},
    ),
    "vit_msn": ({**_VIT, "image_size": SIZE, "patch_size": 8}, "ViTImageProcessor", {}),
    "ijepa": ({**_VIT, "image_size": SIZE, "patch_size": 8}, "ViTImageProcessor", {}),
    "siglip": (
        {"vision_config": {**_VIT, "image_size": SIZE, "patch_size": 8}, "text_config": _VIT},
        "SiglipImageProcessor",
        {},
    ),
    "clip": (
        {"vision_config": {**_VIT, "image_size": SIZE, "patch_size": 8}, "text_config": _VIT},
        "CLIPImageProcessor",
        {"crop_size": SIZE, "size": {"shortest_edge": SIZE}},
    ),
    "swin": (
        {"image_size": SIZE, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        "ViTImageProcessor",
        {},
    ),
    "swinv2": (
        {"image_size": SIZE, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        "ViTImageProcessor",
        {},
    ),
    "convnext": (
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": SIZE}},
    ),
    "convnextv2": (
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": SIZE}},
    ),
    "resnet": (_CONV, "ConvNextImageProcessor", {"size": {"shortest_edge": SIZE}}),
    "regnet": ({**_CONV, "groups_width": 8}, "ConvNextImageProcessor", {"size": {"shortest_edge": SIZE}}),
    "bit": (
        {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1], "num_groups": 4},
        "BitImageProcessor",
        {"size": {"shortest_edge": SIZE}, "crop_size": SIZE},
    ),
    "focalnet": (
        {
            "image_size": SIZE,
            "patch_size": 4,
            "embed_dim": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "focal_levels": [1, 1],
            "focal_windows": [3, 3],
        },
        "BitImageProcessor",
        {"size": {"shortest_edge": SIZE}, "crop_size": SIZE},
    ),
    "hiera": (
        {
            "image_size": [SIZE, SIZE],
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "patch_size": [3, 3],
            "patch_stride": [2, 2],
            "patch_padding": [1, 1],
            "query_stride": [2, 2],
            "num_query_pool": 1,
            "masked_unit_size": [4, 4],
        },
        "BitImageProcessor",
        {"crop_size": SIZE},
    ),
    "mobilenet_v1": (
        {"depth_multiplier": 0.25, "image_size": SIZE},
        "MobileNetV1ImageProcessor",
        {"size": {"shortest_edge": 40}, "crop_size": SIZE},
    ),
    "mobilenet_v2": (
        {"depth_multiplier": 0.25, "image_size": SIZE},
        "MobileNetV2ImageProcessor",
        {"size": {"shortest_edge": 40}, "crop_size": SIZE},
    ),
    "mobilevit": (
        {"image_size": SIZE, "hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 8]},
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 40}, "crop_size": SIZE},
    ),
    "efficientnet": (
        {
            "image_size": SIZE,
            "width_coefficient": 0.25,
            "depth_coefficient": 0.25,
            "hidden_dim": 320,
            "depth_divisor": 4,
        },
        "EfficientNetImageProcessor",
        {"size": SIZE},
    ),
    "levit": (
        {
            "image_size": SIZE,
            "hidden_sizes": [16, 16, 16],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [4, 4, 4],
            "drop_path_rate": 0,
        },
        "LevitImageProcessor",
        {"size": {"shortest_edge": SIZE}, "crop_size": SIZE},
    ),
    "poolformer": (
        {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
        "PoolFormerImageProcessor",
        {"size": {"shortest_edge": SIZE}, "crop_size": SIZE},
    ),
    "pvt": (
        {
            "image_size": SIZE,
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 2],
            "num_labels": 7,
        },
        "PvtImageProcessor",
        {},
    ),
    "pvt_v2": (
        {
            "image_size": SIZE,
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 2],
        },
        "ViTImageProcessor",
        {},
    ),
    "segformer": (
        {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]},
        "SegformerImageProcessor",
        {"size": SIZE},
    ),
}


def classifier_class(model_type):
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    found = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(AutoConfig.for_model(model_type))]
    return found[-1] if isinstance(found, tuple) else found  # DeiT's and LeViT's second class is for their teacher


@functools.cache
def folder(model_type: str, *, num_labels: int = 7, bare: bool = False, problem_type: str | None = None) -> Path:
    """A checkpoint folder of this architecture with random weights and its processor."""
    import transformers
    from transformers import AutoConfig, AutoModel

    settings, processor, recipe = ARCHITECTURES[model_type]
    labels = {i: f"thing {i}" for i in range(num_labels)}
    config = AutoConfig.for_model(model_type, **settings, problem_type=problem_type)
    config.num_labels = num_labels
    config.id2label, config.label2id = labels, {v: k for k, v in labels.items()}
    torch.manual_seed(0)
    model = AutoModel.from_config(config) if bare else classifier_class(model_type)(config)
    _liven(model)
    place = passing_folder(f"sensorium-{model_type}-")
    model.eval().save_pretrained(place)
    recipe = {"size": {"height": SIZE, "width": SIZE}, **recipe}
    getattr(transformers, processor)(**recipe).save_pretrained(place)
    return place


def checkpoint(auto_class, model_type: str, settings: dict, processor, images=None) -> Path:
    """A checkpoint folder of any architecture with random weights, with a processor.

    Args:
        auto_class: one of Transformers' `AutoModelFor…` classes.
        model_type: as `config.json` calls the architecture.
        settings: what its config is told; small sizes above all.
        processor: what is saved beside it: an image processor, a feature extractor or a tokenizer.
        images: of one shape; their statistics become those of batch normalisation, where all look alike without.
    """
    from transformers import AutoConfig

    torch.manual_seed(0)
    model = auto_class.from_config(AutoConfig.for_model(model_type, **settings))
    with torch.no_grad():  # around what it begins with, or deep models would give the same of all inputs
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 0:
                tensor.add_(0.2 * (torch.rand(tensor.shape) - 0.5))
        if images is not None:
            for module in model.modules():
                module.momentum = 1.0
            model.train()(**processor(images, return_tensors="pt"))
    place = passing_folder(f"sensorium-{model_type}-")
    model.eval().save_pretrained(place)
    processor.save_pretrained(place)
    return place


def _liven(model) -> None:
    """Makes every parameter and running statistic other than its initial zeros and ones, so that each one counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 0:
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
