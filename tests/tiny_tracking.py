"""Tiny random checkpoints of models that follow objects through films, built once a session."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder
from tests.tiny_sam import _spread

SIZE = 64
_WIDE = 128  # twice what a memory has for channels, so that pointers are split, as in published models
_DECODER = {"hidden_size": _WIDE, "mlp_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "attention_downsample_rate": 2, "iou_head_hidden_dim": 32, "num_multimask_outputs": 3,
            "dynamic_multimask_via_stability": True}  # fmt: skip
_PROMPTS = {"hidden_size": _WIDE, "image_size": SIZE, "patch_size": 8}
_MEMORY = {"memory_attention_hidden_size": _WIDE, "memory_attention_feed_forward_hidden_size": 64,
           "memory_attention_num_layers": 2, "memory_encoder_hidden_size": _WIDE, "memory_encoder_output_channels": 64,
           "mask_downsampler_embed_dim": _WIDE, "memory_fuser_embed_dim": _WIDE, "memory_fuser_intermediate_dim": 64,
           "memory_attention_rope_feat_sizes": [8, 8], "image_size": SIZE}  # fmt: skip
_MAPS = {"fpn_hidden_size": _WIDE, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]}
_SQUARE = {"height": SIZE, "width": SIZE}


@functools.cache
def folder(model_type: str) -> Path:
    """A checkpoint folder of a model type in `BUILDERS` with random weights and its processor; it sees 64 px."""
    from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

    torch.manual_seed(3)
    model = BUILDERS[model_type]()
    _spread(model)
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(2)  # most objects are in sight on most frames
    place = passing_folder(f"sensorium-tracking-{model_type}-")
    model.eval().save_pretrained(place)
    images = Sam2ImageProcessor(size=_SQUARE, mask_size={"height": 32, "width": 32})
    Sam2VideoProcessor(images, Sam2VideoVideoProcessor(size=_SQUARE), target_size=SIZE).save_pretrained(place)
    return place


def _sam2_video():
    from transformers import Sam2VideoConfig, Sam2VideoModel

    backbone = {"hidden_size": 16, "num_attention_heads": 1, "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [16, 32, 64, 128], "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [4, 2, 4, 2], "global_attention_blocks": [3], "image_size": [SIZE, SIZE],
                "window_positional_embedding_background_size": [4, 4], "mlp_ratio": 2.0,
                "patch_kernel_size": [7, 7], "patch_stride": [2, 2], "patch_padding": [3, 3]}  # fmt: skip
    vision = {"model_type": "sam2_vision_model", "backbone_channel_list": [128, 64, 32, 16], **_MAPS,
              "backbone_config": {"model_type": "sam2_hiera_det_model", **backbone}}  # fmt: skip
    return Sam2VideoModel(Sam2VideoConfig(vision_config=vision, **_rest()))


def _edgetam_video():
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel

    backbone = {"model_type": "timm_wrapper", "architecture": "test_byobnet", "do_pooling": False, "num_classes": 2,
                "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}}  # fmt: skip
    vision = {"model_type": "edgetam_vision_model", "backbone_config": backbone,
              "backbone_channel_list": [128, 64, 32, 24], **_MAPS}  # fmt: skip
    own = {"memory_attention_mlp_hidden_size": 64, "memory_attention_rope_k_sizes": [4, 4],
           "perceiver_resampler_num_latents": 16, "perceiver_resampler_num_latents_2d": 16,
           "perceiver_resampler_hidden_size": 64, "perceiver_resampler_mlp_intermediate_size": 64,
           "perceiver_resampler_attention_head_dim": 64, "mask_downsampler_total_stride": 8}  # fmt: skip
    return EdgeTamVideoModel(EdgeTamVideoConfig(vision_config=vision, **_rest(), **own))


def _sam3_tracker_video():
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel

    backbone = {"model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                "num_attention_heads": 4, "image_size": SIZE, "patch_size": 8, "window_size": 4,
                "global_attn_indexes": [1], "pretrain_image_size": 32}  # fmt: skip
    vision = {"model_type": "sam3_vision_model", "backbone_config": backbone, **_MAPS}
    return Sam3TrackerVideoModel(Sam3TrackerVideoConfig(vision_config=vision, **_rest()))


def _rest():
    return {"prompt_encoder_config": _PROMPTS, "mask_decoder_config": _DECODER, **_MEMORY}


BUILDERS = {"edgetam_video": _edgetam_video, "sam2_video": _sam2_video, "sam3_tracker_video": _sam3_tracker_video}
