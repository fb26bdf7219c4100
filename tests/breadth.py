"""What of Transformers' own tables runs, what is held to its reference, and what does not run and why.

python -m tests.breadth    writes the tables of docs/architectures.md
"""

from __future__ import annotations

from pathlib import Path

from sensorium.checkpoints import Checkpoint, LoadOptions
from sensorium.tasks.base import all_tasks
from sensorium.tasks.base.models import classes_of
from tests import (
    tiny,
    tiny_depth,
    tiny_detection,
    tiny_grounding,
    tiny_matting,
    tiny_normals,
    tiny_pose,
    tiny_sam,
    tiny_segmentation,
    tiny_text,
    tiny_video,
)

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
BEGIN, END = "<!-- tables: written by python -m tests.breadth -->\n", "<!-- end of tables -->\n"

TABLES = [
    "AutoModelForImageClassification",
    "AutoModelForZeroShotImageClassification",
    "AutoModelForObjectDetection",
    "AutoModelForZeroShotObjectDetection",
    "AutoModelForSemanticSegmentation",
    "AutoModelForInstanceSegmentation",
    "AutoModelForUniversalSegmentation",
    "AutoModelForMaskGeneration",
    "AutoModelForKeypointDetection",
    "AutoModelForKeypointMatching",
    "AutoModelForDepthEstimation",
    "AutoModelForImageMatting",
    "AutoModelForNormalEstimation",
    "AutoModelForVideoClassification",
    "AutoModelForPoseEstimation",
    "AutoModelForImageToImage",
]
"""Transformers' tables of models for the tasks that there are."""

_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}

_STEPS = {
    "architecture": "resnet10t",
    "input_size": [3, 32, 32],
    "crop_pct": 0.9,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2] * 3,
}
_STAGE = {"stage_num_blocks": [1] * 4, "stage_numb_of_layers": [1] * 4, "stage_mid_channels": [8] * 4}

CLASSIFIERS = {
    "cvt": (
        {"embed_dim": [8, 16, 16], "depth": [1, 2, 3], "num_heads": [1, 1, 2]},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 32}},
    ),
    "donut-swin": (
        {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        "ViTImageProcessor",
        {"size": {"height": 32, "width": 32}},
    ),
    "hgnet_v2": (
        {
            **_STAGE,
            "embedding_size": 8,
            "hidden_sizes": [16, 16, 32, 32],
            "depths": [1, 1, 1, 1],
            "stem_channels": [3, 8, 8],
            "stage_in_channels": [8, 16, 16, 32],
            "stage_out_channels": [16, 16, 32, 32],
        },
        "ViTImageProcessor",
        {"size": {"height": 64, "width": 64}},
    ),
    "imagegpt": (
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 17},
        "ImageGPTImageProcessor",
        {
            "clusters": [[i / 8 - 1, (i * 5 % 16) / 8 - 1, (i * 3 % 16) / 8 - 1] for i in range(16)],
            "size": {"height": 8, "width": 8},
        },
    ),
    "metaclip_2": (
        {"vision_config": {**_SMALL, "image_size": 32, "patch_size": 8}, "text_config": _SMALL},
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": 32},
    ),
    "mobilevitv2": (
        {"image_size": 64, "width_multiplier": 0.25},
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    ),
    "perceiver": (
        {
            "architectures": ["PerceiverForImageClassificationLearned"],
            "image_size": 16,
            "num_latents": 8,
            "d_latents": 16,
            "num_self_attends_per_block": 1,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 1,
        },
        "PerceiverImageProcessor",
        {"size": {"height": 16, "width": 16}, "crop_size": {"height": 18, "width": 18}},
    ),
    "pp_lcnet": (
        {"scale": 0.5, "class_expand": 16, "block_configs": [[[3, 16, 16, 2, stage == 4]] for stage in range(5)]},
        "PPLCNetImageProcessor",
        {"resize_short": 72, "crop_size": {"height": 64, "width": 64}},
    ),
    "siglip2": (
        {"vision_config": {**_SMALL, "patch_size": 8, "num_patches": 16}, "text_config": _SMALL},
        "Siglip2ImageProcessor",
        {"patch_size": 8, "max_num_patches": 12},
    ),
    "swiftformer": (
        {"embed_dims": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "mlp_ratio": 2},
        "ViTImageProcessor",
        {"size": {"height": 64, "width": 64}},
    ),
    "textnet": (
        {"stem_out_channels": 8, "hidden_sizes": [8, 8, 16, 16, 16]},
        "TextNetImageProcessor",
        {"size": {"shortest_edge": 64}},
    ),
    "timm_wrapper": (
        {"architecture": "resnet10t", "pretrained_cfg": _STEPS},
        "TimmWrapperImageProcessor",
        {"pretrained_cfg": _STEPS},
    ),
}
"""Small classifiers that only `tests/test_breadth.py` runs, by model type."""

DEEP = {"hgnet_v2", "mobilevitv2", "pp_lcnet"}
"""Those with so much normalisation that all pictures are alike to them as long as it knows none."""

HELD = {
    "depth-estimation": {settings[0] for settings in tiny_depth.ARCHITECTURES.values()},
    "image-classification": set(tiny.ARCHITECTURES) | set(CLASSIFIERS),
    "image-matting": set(tiny_matting.ARCHITECTURES),
    "image-segmentation": {settings[0] for settings in tiny_segmentation.ARCHITECTURES.values()},
    "image-to-image": {"swin2sr"},
    "keypoint-detection": {"superpoint"},
    "keypoint-matching": {"efficientloftr", "lightglue", "superglue"},
    "mask-generation": set(tiny_sam.BUILDERS),
    "object-detection": set(tiny_detection.ARCHITECTURES),
    "surface-normals": {settings[0] for settings in tiny_normals.ARCHITECTURES.values()},
    "video-classification": set(tiny_video.ARCHITECTURES),
    "pose-estimation": {settings[0] for settings in tiny_pose.ARCHITECTURES.values()},
    "zero-shot-image-classification": {*tiny_text.MATCHERS, "siglip2"},
    "zero-shot-object-detection": set(tiny_grounding.ARCHITECTURES),
}
"""By task the model types of which a small one is compared with Transformers in float32, in the task's own tests."""

_LINES = "finds lines of text for one that reads them; no task reads text yet"

REFUSED = {
    "BlipModel": "scores a text beside a picture by a head, not in a space that both share",
    "Blip2ForImageTextRetrieval": "scores a text beside a picture by a head, not in a space that both share",
    "ShieldGemma2ForImageClassification": "writes whether a picture breaks a rule that it is told as a text",
    "CLIPSegModel": "is trained to segment what a text names",
    "VideoPrismClipModel": "takes films",
    "PPDocLayoutV4ForObjectDetection": "gives boxes with four free corners, and reads their order off a graph",
    "PPOCRV5MobileDetForObjectDetection": _LINES,
    "PPOCRV5ServerDetForObjectDetection": _LINES,
    "PPOCRV6MediumDetForObjectDetection": _LINES,
    "PPOCRV6SmallDetForObjectDetection": _LINES,
    "VideomtForUniversalSegmentation": "takes films",
}
"""The classes that no task takes, and why. It may only become shorter."""

UNTRIED = {
    "dinat",
}
"""Model types that a task takes, but of which no small one is compared with the reference. May only become shorter."""


def classes() -> dict[str, str]:
    """The names of the classes in the tables with their model types, the first of several."""
    named = [(name, kind) for auto in TABLES for kind, names in classes_of(auto).items() for name in names]
    return dict(reversed(named))


def task_of(name: str, kind: str) -> str | None:
    """The task that takes checkpoints of a class as its own."""
    given = Checkpoint("made up", Path(), "transformers", {"architectures": [name], "model_type": kind}, LoadOptions())
    fitting = [task for task, found in all_tasks().items() if task in HELD and found.fits(given) == "native"]
    return fitting[0] if fitting else None


def tables() -> str:
    """The tables of the page."""
    runs: dict[str, set[str]] = {task: set() for task in HELD}
    for name, kind in classes().items():
        task = task_of(name, kind)
        if task is not None:
            runs[task].add(kind)
    for task in HELD:  # and those that Transformers has in no table of a task
        runs[task].update(*(models.only or () for models in all_tasks()[task].models if models.auto == "AutoModel"))
    lines = ["| task | held to its reference | runs, but is not held to it |", "|---|---|---|"]
    for task, kinds in runs.items():
        held, rest = sorted(kinds & HELD[task]), sorted(kinds - HELD[task])
        told = [", ".join(each) for each in (held, rest)]
        lines.append(f"| [{task}]({task}.md) | {told[0]} | {told[1]} |")
    lines += ["", "| class of Transformers | why it does not run |", "|---|---|"]
    lines += [f"| `{name}` | {reason} |" for name, reason in REFUSED.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
