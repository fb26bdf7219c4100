"""Tiny random models that find what texts name, saved to folders with their processors."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder
from tests.tiny import SIZE, _liven
from tests.tiny_text import _SMALL, _trained_pairs, wordpiece

_VISION = {**_SMALL, "image_size": SIZE, "patch_size": 8}
_SQUARE = {"size": {"height": SIZE, "width": SIZE}}
_OWL = {
    "text_config": {**_SMALL, "max_position_embeddings": 16},
    "vision_config": _VISION,
    "projection_dim": 16,
}


_DINO = {
    "text_config": {**_SMALL, "model_type": "bert", "max_position_embeddings": 128},
    "backbone_config": {
        "model_type": "swin",
        "image_size": SIZE,
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "window_size": 4,
        "out_indices": [2, 3, 4],
    },
    "d_model": 32,
    "num_queries": 12,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_feature_levels": 3,
    "max_text_len": 64,
}
_KEPT = {"size": {"shortest_edge": 64, "longest_edge": 96}}


@functools.cache
def owl_pairs():
    """CLIP's kind of tokenizer, whose texts do not begin with 0, which OWL takes for padding."""
    from transformers import CLIPTokenizer

    parts = _trained_pairs(["<pad>", "<|startoftext|>", "<|endoftext|>"], suffix="</w>")
    return CLIPTokenizer(**parts, pad_token="<pad>", model_max_length=16)


ARCHITECTURES = {
    "owlvit": (_OWL, "OwlViTForObjectDetection", "OwlViTImageProcessor", _SQUARE, owl_pairs, "OwlViTProcessor"),
    "owlv2": (_OWL, "Owlv2ForObjectDetection", "Owlv2ImageProcessor", _SQUARE, owl_pairs, "Owlv2Processor"),
    "grounding-dino": (
        _DINO,
        "GroundingDinoForObjectDetection",
        "GroundingDinoImageProcessor",
        _KEPT,
        wordpiece,
        "GroundingDinoProcessor",
    ),
    "mm-grounding-dino": (
        _DINO,
        "MMGroundingDinoForObjectDetection",
        "GroundingDinoImageProcessor",
        _KEPT,
        wordpiece,
        "GroundingDinoProcessor",
    ),
}
"""By model type: settings, the classes of model and image processor, its settings, the tokenizer, their processor."""


@functools.cache
def folder(model_type: str) -> Path:
    """A checkpoint folder of a model, with its processor; its scores lie about 0.5, wide apart."""
    import transformers

    settings, model, images, recipe, make, both = ARCHITECTURES[model_type]
    tokenizer = make()
    texts = {**settings["text_config"], "vocab_size": len(tokenizer)}
    config = transformers.AutoConfig.for_model(model_type, **{**settings, "text_config": texts})
    torch.manual_seed(0)
    built = getattr(transformers, model)(config)
    _liven(built)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for weight in (weight for weight in built.parameters() if weight.ndim > 1):  # so that inputs tell in outputs
            weight.normal_(0, 1.2 / weight[0].numel() ** 0.5, generator=generator)
        if hasattr(built, "class_embed"):  # scores between 0 and 1
            built.model.decoder.layer_norm.weight.mul_(0.3)
            for name, each in built.named_parameters():
                if "class_embed" in name:
                    each.zero_()
    place = passing_folder(f"sensorium-{model_type}-")
    built.eval().save_pretrained(place)
    processor = getattr(transformers, images)(**recipe)
    getattr(transformers, both)(processor, tokenizer).save_pretrained(place)
    return place
