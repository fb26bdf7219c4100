"""Tiny random checkpoints of SAM and its kin, built once a session."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.passing import passing_folder
from tests.tiny_text import clip_pairs

SIZE = 64
_DECODER = {"hidden_size": 32, "mlp_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "attention_downsample_rate": 2, "iou_head_hidden_dim": 32, "num_multimask_outputs": 3}  # fmt: skip


@functools.cache
def folder(model_type: str) -> Path:
    """A checkpoint folder of a model type in `BUILDERS` with random weights and its processor; it sees 64 px.

    The last layers are scaled so that masks have contours and scores that spread over (0, 1), as trained ones have.
    """
    torch.manual_seed(3)
    model, processor = BUILDERS[model_type]()
    _spread(model)
    place = passing_folder(f"sensorium-{model_type}-")
    model.eval().save_pretrained(place)
    processor.save_pretrained(place)
    if model_type == "sam3_video":
        _name_as_published(place / "model.safetensors")
    return place


def _name_as_published(path: Path) -> None:
    """Transformers (5.17 to 5.23) saves `tracker_model.…` under that name twice, and then finds it as itself alone."""
    weights = load_file(path)
    once = {name.replace("tracker_model.tracker_model.", "tracker_model."): value for name, value in weights.items()}
    save_file(once, path, metadata={"format": "pt"})


_VISION = {"hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
           "image_size": SIZE, "patch_size": 8, "mlp_dim": 48, "window_size": 3, "global_attn_indexes": [1],
           "num_pos_feats": 16}  # fmt: skip
_PROMPTS = {"hidden_size": 32, "image_size": SIZE, "patch_size": 8, "image_embedding_size": SIZE // 8}


def _padding():
    from transformers import SamImageProcessor

    return SamImageProcessor(size={"longest_edge": SIZE}, pad_size={"height": SIZE, "width": SIZE})


def _sam():
    from transformers import SamConfig, SamModel

    config = SamConfig(vision_config=_VISION, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    return SamModel(config), _padding()


def _sam_hq():
    from transformers import SamHQConfig, SamHQModel

    decoder = {**_DECODER, "vit_dim": _VISION["hidden_size"]}
    config = SamHQConfig(vision_config=_VISION, prompt_encoder_config=_PROMPTS, mask_decoder_config=decoder)
    return SamHQModel(config), _padding()


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


_MEMORY = {"memory_attention_hidden_size": 32, "memory_attention_feed_forward_hidden_size": 32,
           "memory_attention_num_layers": 1, "memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 8,
           "mask_downsampler_embed_dim": 32, "memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 32,
           "image_size": SIZE, "memory_attention_downsample_rate": 1}  # fmt: skip


def _sam2_video():
    """SAM 2 as it is published: the model of videos, which holds that of pictures, with its processor."""
    from transformers import Sam2VideoConfig, Sam2VideoModel, Sam2VideoProcessor, Sam2VideoVideoProcessor

    model, processor = _sam2()
    config = Sam2VideoConfig(**_parts(model), **_MEMORY)
    return Sam2VideoModel(config), Sam2VideoProcessor(processor, Sam2VideoVideoProcessor())


def _edgetam():
    from transformers import EdgeTamConfig, EdgeTamModel, Sam2ImageProcessor

    backbone = {"model_type": "timm_wrapper", "architecture": "test_byobnet", "do_pooling": False, "num_classes": 2,
                "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}}  # fmt: skip
    vision = {"backbone_config": backbone, "backbone_channel_list": [128, 64, 32, 24], "fpn_hidden_size": 32,
              "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]}  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": SIZE, "patch_size": 8}
    config = EdgeTamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=_DECODER)
    size = {"height": SIZE, "width": SIZE}
    return EdgeTamModel(config), Sam2ImageProcessor(size=size, mask_size={"height": 32, "width": 32})


def _edgetam_video():
    """EdgeTAM as it is published."""
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel, Sam2VideoProcessor, Sam2VideoVideoProcessor

    model, processor = _edgetam()
    sizes = {**_MEMORY, "memory_attention_mlp_hidden_size": 32, "memory_attention_rope_feat_sizes": [8, 8],
             "memory_attention_rope_k_sizes": [4, 4], "perceiver_resampler_num_latents": 16,
             "perceiver_resampler_num_latents_2d": 16, "perceiver_resampler_hidden_size": 8,
             "perceiver_resampler_mlp_intermediate_size": 16, "perceiver_resampler_attention_head_dim": 8}  # fmt: skip
    config = EdgeTamVideoConfig(**_parts(model), **sizes)
    return EdgeTamVideoModel(config), Sam2VideoProcessor(processor, Sam2VideoVideoProcessor())


def _sam3_tracker():
    """What of SAM 3 takes points and boxes."""
    from transformers import Sam3ImageProcessor, Sam3TrackerConfig, Sam3TrackerModel

    backbone = {"model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                "num_attention_heads": 4, "image_size": SIZE, "patch_size": 8, "window_size": 4,
                "global_attn_indexes": [1], "pretrain_image_size": 32}  # fmt: skip
    vision = {"model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": 32,
              "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]}  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": SIZE, "patch_size": 8}
    config = Sam3TrackerConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=_DECODER)
    size = {"height": SIZE, "width": SIZE}
    return Sam3TrackerModel(config), Sam3ImageProcessor(size=size, mask_size={"height": 32, "width": 32})


_DETR = {"hidden_size": 32, "num_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def _sam3():
    """What of SAM 3 finds what texts name; its neck gives a map at half the resolution that nothing reads."""
    from transformers import Sam3Config, Sam3Model, Sam3Processor

    tracker, images = _sam3_tracker()
    vision = tracker.config.vision_config.to_dict()
    read = {"model_type": "clip_text_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "projection_dim": 16, "max_position_embeddings": 32,
            "vocab_size": len(clip_pairs())}  # fmt: skip
    config = Sam3Config(
        vision_config=vision, text_config=read, geometry_encoder_config={**_DETR, "roi_size": 3},
        detr_encoder_config=_DETR, detr_decoder_config={**_DETR, "num_queries": 12},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 4},
    )  # fmt: skip
    return Sam3Model(config), Sam3Processor(images, clip_pairs())


def _sam3_video():
    """SAM 3 as it is published: the model of videos, which holds both halves, with its processor."""
    from transformers import Sam2VideoVideoProcessor, Sam3VideoConfig, Sam3VideoModel, Sam3VideoProcessor

    model, processor = _sam3()
    tracker = {**_parts(_sam3_tracker()[0]), **_MEMORY}
    config = Sam3VideoConfig(detector_config=model.config.to_dict(), tracker_config={
        name: value if name in _MEMORY else value.to_dict() for name, value in tracker.items()
    }, low_res_mask_size=32)  # fmt: skip
    video = Sam2VideoVideoProcessor(size={"height": SIZE, "width": SIZE})
    return Sam3VideoModel(config), Sam3VideoProcessor(processor.image_processor, video, processor.tokenizer)


BUILDERS = {
    "edgetam": _edgetam,
    "edgetam_video": _edgetam_video,
    "sam": _sam,
    "sam2": _sam2,
    "sam2_video": _sam2_video,
    "sam3": _sam3,
    "sam3_tracker": _sam3_tracker,
    "sam3_video": _sam3_video,
    "sam_hq": _sam_hq,
}


def as_published(model):
    """A loaded model of Transformers, changed in place to give what its authors' code gives.

    SAM-HQ's own decoder draws masks from the picture that the prompts have looked at (SysCV/sam-hq,
    mask_decoder_hq.py). That of Transformers, from 5.17 to 5.23 at least, draws from the embedding as it was before,
    with its rows for columns. SAM 3's tracker adds that no frame is remembered to the coarsest map that it takes
    (facebookresearch/sam3, sam1_task_predictor.py); Transformers adds it to one beyond, which it leaves out.
    """
    if type(model).__name__ == "SamHQModel":
        transformer = model.mask_decoder.transformer
        attend = transformer.forward

        def forward(*, image_embeddings, **arguments):
            queries, keys = attend(image_embeddings=image_embeddings, **arguments)
            seen = keys.transpose(2, 3).reshape(image_embeddings.shape)
            image_embeddings.copy_(seen.transpose(2, 3))  # which is transposed once more
            return queries, keys

        transformer.forward = forward
    if type(model).__name__ == "Sam3TrackerModel":
        encode = model.vision_encoder.forward

        def three(*arguments, **named):
            seen = encode(*arguments, **named)
            seen.fpn_hidden_states, seen.fpn_position_encoding = (
                seen.fpn_hidden_states[:3],
                seen.fpn_position_encoding[:3],
            )
            return seen

        model.vision_encoder.forward = three
    return model


def _parts(model):
    return {
        f"{part}_config": getattr(model.config, f"{part}_config")
        for part in ("vision", "prompt_encoder", "mask_decoder")
    }


def _spread(model) -> None:
    """Makes every weight count and the prompts matter, so that masks differ as much as trained ones do."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 0:
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    detector = getattr(model, "detector_model", model if hasattr(model, "detr_decoder") else None)
    tracker = getattr(model, "tracker_model", model if detector is None else None)
    if tracker is not None:
        _spread_prompted(tracker.mask_decoder, generator)
    if detector is not None:
        _spread_named(detector)


@torch.no_grad()
def _spread_prompted(decoder, generator) -> None:
    for name, tensor in decoder.named_parameters():
        if name.endswith("weight") and tensor.ndim >= 2:
            wide = tensor.shape[0] if "upscale" in name else tensor[0].numel()
            tensor.copy_(1.5 * torch.randn(tensor.shape, generator=generator) / wide**0.5)
    for head in decoder.output_hypernetworks_mlps:
        head.proj_out.weight.mul_(5)  # logits of trained size, beside which the stability offset of 1 is small
    decoder.iou_prediction_head.proj_out.bias.add_(0.7)


@torch.no_grad()
def _spread_named(detector) -> None:
    """Scores of queries and of texts that lie apart, and masks with contours."""
    detector.text_projection.weight.mul_(3)
    detector.geometry_encoder.label_embed.weight.mul_(20)
    for module in (detector.detr_encoder, detector.detr_decoder, detector.mask_decoder):
        for name, tensor in module.named_parameters():
            if name.endswith("weight") and tensor.ndim == 2:
                tensor.mul_(1.5)
    decoder = detector.detr_decoder
    decoder.query_embed.weight.mul_(10)
    decoder.reference_points.weight.mul_(15)
    decoder.presence_head.layer3.bias.fill_(2.0)
    detector.dot_product_scoring.query_proj.weight.mul_(15)
    detector.mask_decoder.mask_embedder.layers[-1].weight.mul_(15)
