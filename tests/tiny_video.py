"""Tiny random classifiers of films of real architectures, saved to folders with their processors."""

from __future__ import annotations

import functools
from pathlib import Path

import transformers

from tests import tiny

SIZE = 32
_SQUARE = {"height": SIZE, "width": SIZE}
_VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_CROPPED = {"size": {"shortest_edge": SIZE}, "crop_size": _SQUARE}

ARCHITECTURES = {
    "timesformer": (
        {**_VIT, "image_size": SIZE, "patch_size": 16, "num_frames": 4},
        "TimesformerVideoProcessor",
        _CROPPED,
    ),
    "videomae": (
        {**_VIT, "image_size": SIZE, "patch_size": 16, "num_frames": 8, "tubelet_size": 2},
        "VideoMAEVideoProcessor",
        _CROPPED,
    ),
    "videoprism_vision_model": (
        {
            "hidden_size": 16,
            "num_spatial_layers": 2,
            "num_temporal_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": 36,
            "num_frames": 6,
        },
        "LlavaOnevisionVideoProcessor",
        {"size": {"height": 36, "width": 36}},
    ),
    "vivit": (
        {**_VIT, "image_size": SIZE, "num_frames": 8, "tubelet_size": [2, 16, 16]},
        "VivitVideoProcessor",
        {"size": {"shortest_edge": 40}, "crop_size": _SQUARE},
    ),
    "vjepa2": (
        {
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 16,
            "crop_size": SIZE,
            "frames_per_clip": 8,
            "pred_hidden_size": 24,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
            "num_pooler_layers": 1,
        },
        "VJEPA2VideoProcessor",
        {"crop_size": SIZE},
    ),
}
"""By model type: what the config is told, the processor's class, and what that is told."""


@functools.cache
def folder(model_type: str, *, num_labels: int = 7, problem_type: str | None = None) -> Path:
    """A checkpoint folder of this architecture with random weights and its processor."""
    settings, processor, recipe = ARCHITECTURES[model_type]
    told = {"id2label": {i: f"deed {i}" for i in range(num_labels)}, "problem_type": problem_type}
    return tiny.checkpoint(
        transformers.AutoModelForVideoClassification,
        model_type,
        {**settings, **told},
        getattr(transformers, processor)(**recipe),
    )
