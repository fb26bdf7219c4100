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
_ENDS = {"bos_token_id": 1, "eos_token_id": 2}
_OMDET = {
    "text_config": {**_SMALL, "model_type": "clip_text_model", "max_position_embeddings": 77, **_ENDS},
    "backbone_config": {"model_type": "timm_backbone", "backbone": "test_resnet", "out_indices": [1, 2, 3]},
    "apply_layernorm_after_vision_backbone": False,
    "image_size": SIZE,
    "text_projection_in_dim": _SMALL["hidden_size"],
    "text_projection_out_dim": _SMALL["hidden_size"],
    "class_embed_dim": _SMALL["hidden_size"],
    "task_encoder_hidden_dim": 32,
    "num_queries": 12,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": (32, 48, 192),
    "encoder_dim_feedforward": 32,
    "encoder_attention_heads": 4,
    "vision_features_channels": (32, 32, 32),
    "decoder_hidden_dim": 32,
    "decoder_num_heads": 4,
    "decoder_num_layers": 2,
    "decoder_dim_feedforward": 32,
}
_KEPT = {"size": {"shortest_edge": 64, "longest_edge": 96}}


@functools.cache
def clip_pairs():
    """CLIP's own kind: 77 tokens, of which the end's has the highest number."""
    from transformers import CLIPTokenizer

    parts = _trained_pairs(["<pad>", "<|startoftext|>", "<|endoftext|>"], suffix="</w>")
    vocab = parts["vocab"]
    last = max(vocab, key=vocab.__getitem__)
    vocab[last], vocab["<|endoftext|>"] = vocab["<|endoftext|>"], vocab[last]
    return CLIPTokenizer(**parts, pad_token="<pad>", model_max_length=77)


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
    "omdet-turbo": (
        _OMDET,
        "OmDetTurboForObjectDetection",
        "DetrImageProcessor",
        {**_SQUARE, "do_pad": False},
        clip_pairs,
        "OmDetTurboProcessor",
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
        if model_type == "omdet-turbo":  # so that what fills up labels would tell, too
            built.decoder.encoder_class_head.bias.normal_(0, 1, generator=generator)
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
