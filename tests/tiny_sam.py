"""Tiny random checkpoints of SAM and SAM 2, built once a session."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.passing import passing_folder

SIZE = 64
_DECODER = {"hidden_size": 32, "mlp_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "attention_downsample_rate": 2, "iou_head_hidden_dim": 32, "num_multimask_outputs": 3}  # fmt: skip


@functools.cache
def folder(model_type: str) -> Path:
    """A checkpoint folder of "sam", "sam2" or "sam2_video" with random weights and its processor; it sees 64 px.

    The last layers are scaled so that masks have contours and scores that spread over (0, 1), as trained ones have.
    """
    torch.manual_seed(3)
    model, processor = {"sam": _sam, "sam2": _sam2, "sam2_video": _sam2_video}[model_type]()
    _spread(model)
    place = passing_folder(f"sensorium-{model_type}-")
    model.eval().save_pretrained(place)
    processor.save_pretrained(place)
    return place


def _sam():
    from transformers import SamConfig, SamImageProcessor, SamModel

    vision = {"hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
              "image_size": SIZE, "patch_size": 8, "mlp_dim": 48, "window_size": 3, "global_attn_indexes": [1],
              "num_pos_feats": 16}  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": SIZE, "patch_size": 8, "image_embedding_size": SIZE // 8}
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=_DECODER)
    size = {"height": SIZE, "width": SIZE}
    return SamModel(config), SamImageProcessor(size={"longest_edge": SIZE}, pad_size=size)


def _sam2():
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model

    backbone = {"hidden_size": 16, "num_attention_heads": 1, "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [16, 32, 64, 128], "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [4, 2, 4, 2], "global_attention_blocks": [3], "image_size": [SIZE, SIZE],
                "window_positional_embedding_background_size": [4, 4], "mlp_ratio": 2.0,
                "patch_kernel_size": [7, 7], "patch_stride": [2, 2], "patch_padding": [3, 3]}  # fmt: skip
    vision = {"backbone_config": {"model_type": "sam2_hiera_det_model", **backbone}, "fpn_hidden_size": 32,
              "backbone_channel_list": [128, 64, 32, 16],
              "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]}  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": SIZE, "patch_size": 8}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=_DECODER)
    size = {"height": SIZE, "width": SIZE}
    return Sam2Model(config), Sam2ImageProcessor(size=size, mask_size={"height": 32, "width": 32})


def _sam2_video():
    """SAM 2 as it is published: the model of videos, which holds that of pictures, with its processor."""
    from transformers import Sam2VideoConfig, Sam2VideoModel, Sam2VideoProcessor, Sam2VideoVideoProcessor

    model, processor = _sam2()
    sizes = {"memory_attention_hidden_size": 32, "memory_attention_feed_forward_hidden_size": 32,
             "memory_attention_num_layers": 1, "memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 8,
             "mask_downsampler_embed_dim": 32, "memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 32,
             "image_size": SIZE, "memory_attention_downsample_rate": 1}  # fmt: skip
    parts = {name: getattr(model.config, name) for name in ("vision_config", "prompt_encoder_config")}
    config = Sam2VideoConfig(**parts, mask_decoder_config=model.config.mask_decoder_config, **sizes)
    return Sam2VideoModel(config), Sam2VideoProcessor(processor, Sam2VideoVideoProcessor())


def _spread(model) -> None:
    """Makes every weight count and the prompts matter, so that masks differ as much as trained ones do."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 0:
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
        for name, tensor in model.mask_decoder.named_parameters():
            if name.endswith("weight") and tensor.ndim >= 2:
                wide = tensor.shape[0] if "upscale" in name else tensor[0].numel()
                tensor.copy_(1.5 * torch.randn(tensor.shape, generator=generator) / wide**0.5)
        for head in model.mask_decoder.output_hypernetworks_mlps:
            head.proj_out.weight.mul_(5)  # logits of trained size, beside which the stability offset of 1 is small
        model.mask_decoder.iou_prediction_head.proj_out.bias.add_(0.7)
