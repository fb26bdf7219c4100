"""Tiny random models of alpha mattes of real architectures, saved to folders with their processors."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.passing import passing_folder
from tests.tiny_depth import spread
from tests.tiny_normals import HEAD, PORTRAIT
from tests.tiny_pose import SAPIENS

_VITDET = {
    "model_type": "vitdet",
    "num_channels": 4,
    "image_size": 64,
    "pretrain_image_size": 32,
    "patch_size": 16,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "window_size": 3,
    "window_block_indices": [0],
    "residual_block_indices": [1],
    "use_relative_position_embeddings": True,
    "out_features": ["stage3"],
}

ARCHITECTURES = {
    "vitmatte": (
        "vitmatte",
        {
            "backbone_config": _VITDET,
            "hidden_size": 16,
            "convstream_hidden_sizes": [8, 8, 8],
            "fusion_hidden_sizes": [16, 8, 8, 8],
        },
        "VitMatteImageProcessor",
        {},
    ),
    "sapiens2": (
        "sapiens2",
        {**SAPIENS, "num_labels": 4, "head_config": HEAD},
        "Sapiens2ImageProcessor",
        {"size": PORTRAIT},
    ),
}
"""By name the model type, its settings, its processor and that's."""


def make_trimap(width: int = 64, height: int = 48) -> Image.Image:
    """An ellipse in front, with a band around it that is to be found out."""
    y, x = np.mgrid[0:height, 0:width]
    away = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    return Image.fromarray(np.select([away < 0.2, away < 0.4], [255, 128], 0).astype(np.uint8))


@functools.cache
def folder(name: str) -> Path:
    """A checkpoint folder of this architecture, whose mattes have all levels."""
    import transformers

    model_type, settings, processor, recipe = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **settings)
    model = transformers.AutoModelForImageMatting.from_config(config).eval()
    processor = getattr(transformers, processor)(**recipe)

    def prepared(image):
        given = {"trimaps": make_trimap(*image.size)} if model_type == "vitmatte" else {}
        return processor(images=image, return_tensors="pt", **given)

    spread(model, prepared)
    place = passing_folder(f"tiny-{name}-")
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place
