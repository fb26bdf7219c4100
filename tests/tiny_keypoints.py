"""Tiny random SuperPoint, SuperGlue and LightGlue checkpoints."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.media import make_image
from tests.passing import passing_folder

SIZE = {"height": 48, "width": 64}


@functools.cache
def superpoint(*, do_grayscale: bool = False, **settings) -> Path:
    """A SuperPoint of 16 channels that finds a few dozen points in a picture of 64x48 px."""
    from transformers import SuperPointForKeypointDetection, SuperPointImageProcessor

    torch.manual_seed(0)
    model = SuperPointForKeypointDetection(_superpoint_config(**settings))
    _sharpen(model)
    return _saved(model, SuperPointImageProcessor(size=SIZE, do_grayscale=do_grayscale))


@functools.cache
def superglue(*, layers=("self", "cross"), **settings) -> Path:
    """A SuperGlue of two layers on that SuperPoint."""
    from transformers import SuperGlueConfig, SuperGlueForKeypointMatching, SuperGlueImageProcessor

    torch.manual_seed(1)
    config = SuperGlueConfig(
        keypoint_detector_config=_superpoint_config(),
        **{
            "hidden_size": 16,
            "keypoint_encoder_sizes": [8, 16],
            "gnn_layers_types": list(layers),
            "num_attention_heads": 2,
            "sinkhorn_iterations": 20,
            **settings,
        },
    )
    model = SuperGlueForKeypointMatching(config)
    _sharpen(model.keypoint_detector)
    _liven(model)
    return _saved(model, SuperGlueImageProcessor(size=SIZE))


@functools.cache
def lightglue(**settings) -> Path:
    """A LightGlue of four layers on that SuperPoint."""
    from transformers import LightGlueConfig, LightGlueForKeypointMatching, LightGlueImageProcessor

    torch.manual_seed(2)
    config = LightGlueConfig(
        keypoint_detector_config=_superpoint_config(),
        **{"descriptor_dim": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "filter_threshold": 0.0, **settings},
    )
    model = LightGlueForKeypointMatching(config)
    _sharpen(model.keypoint_detector)
    _liven(model)
    return _saved(model, LightGlueImageProcessor(size=SIZE))


@functools.cache
def efficientloftr(**settings) -> Path:
    """An EfficientLoFTR of 12 by 16 cells."""
    from transformers import EfficientLoFTRConfig, EfficientLoFTRForKeypointMatching, EfficientLoFTRImageProcessor

    torch.manual_seed(5)
    config = EfficientLoFTRConfig(
        **{
            "stage_num_blocks": [1, 1, 1, 1],
            "out_features": [16, 16, 24, 32],
            "hidden_size": 32,
            "num_attention_layers": 1,
            "activation_function": "tanh",
            "coarse_matching_threshold": 0.02,
            **settings,
        }
    )
    model = EfficientLoFTRForKeypointMatching(config)
    processor = EfficientLoFTRImageProcessor(size={"height": 96, "width": 128})
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for module in norms:  # near 0, where training begins, and off their mean, all pixels are alike
            module.weight.fill_(1)
            module.momentum = 1.0
        model.train()(processor([make_image(140, 100, seed=1), make_image()], return_tensors="pt")["pixel_values"])
    return _saved(model, processor)


def _superpoint_config(**settings):
    from transformers import SuperPointConfig

    return SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 16, 16],
        decoder_hidden_size=16,
        **{"descriptor_decoder_dim": 16, "keypoint_threshold": 0.03, **settings},
    )


def _sharpen(detector) -> None:
    """Makes the scores depend on the picture: random nets give each cell nearly the same ones."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in detector.modules():
            if isinstance(module, torch.nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                module.bias.normal_(0, 0.02, generator=generator)
        detector.keypoint_decoder.conv_score_b.weight.mul_(8)
        detector.descriptor_decoder.conv_descriptor_b.weight.mul_(4)


def _liven(model) -> None:
    """Moves what starts as zeros and ones, so that it counts, and the rest, so that matches are not all alike."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.startswith("keypoint_detector") or not tensor.is_floating_point() or tensor.ndim == 0:
                continue
            if tensor.ndim == 2:
                size = 4 if "final_proj" in name else 1  # similarities far apart, so that there are matches
                tensor.normal_(0, size * tensor.shape[1] ** -0.5, generator=generator)
            else:
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))


def _saved(model, processor) -> Path:
    place = passing_folder("sensorium-keypoints-")
    model.eval().save_pretrained(place)
    processor.save_pretrained(place)
    return place
