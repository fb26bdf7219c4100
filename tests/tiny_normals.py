"""Tiny random models of surface normals of real architectures, saved to folders with their processors."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder
from tests.tiny_depth import ARCHITECTURES as DEPTH
from tests.tiny_depth import spread
from tests.tiny_pose import SAPIENS

PORTRAIT = {"height": 64, "width": 48}
HEAD = {
    "use_pixel_shuffle": True,
    "upsample_out_channels": [16, 16, 16],
    "upsample_kernel_sizes": [3, 3, 3],
    "conv_out_channels": [16],
}
_SAPIENS = {**SAPIENS, "num_labels": 3, "head_config": HEAD}

ARCHITECTURES = {
    "tipsv2_dpt": ("tipsv2_dpt", DEPTH["tipsv2_dpt"][1], "Tipsv2DptImageProcessor", DEPTH["tipsv2_dpt"][3]),
    "sapiens2": ("sapiens2", _SAPIENS, "Sapiens2ImageProcessor", {"size": PORTRAIT, "do_pad": True}),
    "sapiens2-stretched": ("sapiens2", _SAPIENS, "Sapiens2ImageProcessor", {"size": PORTRAIT}),
}
"""By name the model type, its settings, its processor and that's."""


@functools.cache
def folder(name: str) -> Path:
    """A checkpoint folder of this architecture, whose vectors point everywhere."""
    import transformers

    model_type, settings, processor, recipe = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **settings)
    model = transformers.AutoModelForNormalEstimation.from_config(config).eval()
    processor = getattr(transformers, processor)(**recipe)
    spread(model, lambda image: processor(images=image, return_tensors="pt"))
    place = passing_folder(f"tiny-{name}-")
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place
