"""Tiny random models of many Transformers architectures, for the parity tests."""

from __future__ import annotations

import torch
import transformers as tf

VIT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
PATCHED = {**VIT, "image_size": 32, "patch_size": 8}
SWIN = {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 2], "num_heads": [1, 2, 2], "window_size": 4}
CONV = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}

# name: (class of the saved model, its config, the size of its pictures)
WITH_BACKBONE_CLASS = {
    "swin": (tf.SwinForImageClassification, tf.SwinConfig(**SWIN), 64),
    "swinv2": (tf.Swinv2ForImageClassification, tf.Swinv2Config(**SWIN), 64),
    "convnext": (tf.ConvNextForImageClassification, tf.ConvNextConfig(**CONV), 64),
    "convnextv2": (tf.ConvNextV2ForImageClassification, tf.ConvNextV2Config(**CONV), 64),
    "resnet": (tf.ResNetForImageClassification, tf.ResNetConfig(**RESNET), 64),
    "dinov2": (tf.Dinov2ForImageClassification, tf.Dinov2Config(**PATCHED), 32),
    "dinov2_with_registers": (
        tf.Dinov2WithRegistersForImageClassification,
        tf.Dinov2WithRegistersConfig(**PATCHED, num_register_tokens=3),
        32,
    ),
    "dinov3_vit": (tf.DINOv3ViTModel, tf.DINOv3ViTConfig(**PATCHED, num_register_tokens=2), 32),
    "dinov3_convnext": (tf.DINOv3ConvNextModel, tf.DINOv3ConvNextConfig(**CONV), 64),
    "beit": (tf.BeitForImageClassification, tf.BeitConfig(**PATCHED), 32),
    "bit": (
        tf.BitForImageClassification,
        tf.BitConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_groups=4),
        64,
    ),
    "focalnet": (
        tf.FocalNetForImageClassification,
        tf.FocalNetConfig(
            image_size=64,
            embed_dim=8,
            hidden_sizes=[8, 16, 24],
            depths=[1, 1, 1],
            focal_levels=[1, 1, 1],
            focal_windows=[3, 3, 3],
        ),
        64,
    ),
    "hgnet_v2": (
        tf.HGNetV2ForImageClassification,
        tf.HGNetV2Config(
            embedding_size=8,
            hidden_sizes=[16, 16, 32, 32],
            depths=[1, 1, 1, 1],
            stem_channels=[3, 8, 8],
            stage_in_channels=[8, 16, 16, 32],
            stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[16, 16, 32, 32],
            stage_num_blocks=[1, 1, 1, 1],
            stage_numb_of_layers=[1, 1, 1, 1],
        ),
        64,
    ),
    "hiera": (
        tf.HieraForImageClassification,
        tf.HieraConfig(
            image_size=[64, 64],
            embed_dim=8,
            depths=[1, 1, 1],
            num_heads=[1, 1, 2],
            num_query_pool=2,
            masked_unit_size=[4, 4],
            query_stride=[2, 2],
        ),
        64,
    ),
    "pvt_v2": (
        tf.PvtV2ForImageClassification,
        tf.PvtV2Config(
            image_size=64,
            hidden_sizes=[8, 16, 16, 32],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 2, 2, 4],
            mlp_ratios=[2, 2, 2, 2],
        ),
        64,
    ),
    "textnet": (
        tf.TextNetForImageClassification,
        tf.TextNetConfig(
            stem_out_channels=8,
            hidden_sizes=[8, 8, 16, 16, 32],
            conv_layer_kernel_sizes=[[[3, 3]]] * 4,
            conv_layer_strides=[[2]] * 4,
        ),
        64,
    ),
    "pp_lcnet": (tf.PPLCNetForImageClassification, tf.PPLCNetConfig(scale=0.25, class_expand=32), 64),
    "maskformer-swin": (tf.MaskFormerSwinModel, tf.MaskFormerSwinConfig(**SWIN), 64),
    "vitdet": (tf.VitDetModel, tf.VitDetConfig(**{**PATCHED, "mlp_ratio": 2, "intermediate_size": 32}), 32),
    "pixio": (tf.PixioBackbone, tf.PixioConfig(**PATCHED, n_cls_tokens=2), 32),
    "rt_detr_resnet": (tf.RTDetrResNetBackbone, tf.RTDetrResNetConfig(**RESNET), 64),
    "vitpose_backbone": (
        tf.VitPoseBackbone,
        tf.VitPoseBackboneConfig(**{**PATCHED, "image_size": [32, 24], "patch_size": [8, 8]}),
        (32, 24),
    ),
}
_LIPS = {**VIT, "image_size": 32, "patch_size": 8}
HIDDEN_STATES_ONLY = {
    "vit": (tf.ViTForImageClassification, tf.ViTConfig(**PATCHED), 32),
    "deit": (tf.DeiTForImageClassification, tf.DeiTConfig(**PATCHED), 32),
    "vit_msn": (tf.ViTMSNForImageClassification, tf.ViTMSNConfig(**PATCHED), 32),
    "ijepa": (tf.IJepaForImageClassification, tf.IJepaConfig(**PATCHED), 32),
    "data2vec-vision": (tf.Data2VecVisionForImageClassification, tf.Data2VecVisionConfig(**PATCHED), 32),
    "clip": (tf.CLIPForImageClassification, tf.CLIPConfig(vision_config=_LIPS, text_config=VIT), 32),
    "siglip": (tf.SiglipForImageClassification, tf.SiglipConfig(vision_config=_LIPS, text_config=VIT), 32),
    "siglip_vision_model": (tf.SiglipVisionModel, tf.SiglipVisionConfig(**_LIPS), 32),
    "clip_vision_model": (tf.CLIPVisionModel, tf.CLIPVisionConfig(**_LIPS), 32),
    "segformer": (
        tf.SegformerForImageClassification,
        tf.SegformerConfig(hidden_sizes=[8, 16, 16, 32], depths=[1] * 4, num_attention_heads=[1, 2, 2, 4]),
        64,
    ),
    "poolformer": (
        tf.PoolFormerForImageClassification,
        tf.PoolFormerConfig(hidden_sizes=[8, 16, 16, 32], depths=[1] * 4),
        64,
    ),
    "regnet": (
        tf.RegNetForImageClassification,
        tf.RegNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, groups_width=8),
        64,
    ),
    "efficientnet": (
        tf.EfficientNetForImageClassification,
        tf.EfficientNetConfig(image_size=64, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320),
        64,
    ),
    "mobilenet_v1": (tf.MobileNetV1ForImageClassification, tf.MobileNetV1Config(depth_multiplier=0.25), 64),
    "mobilenet_v2": (tf.MobileNetV2ForImageClassification, tf.MobileNetV2Config(depth_multiplier=0.25), 64),
    "mobilevit": (
        tf.MobileViTForImageClassification,
        tf.MobileViTConfig(
            image_size=64,
            hidden_sizes=[16, 24, 32],
            neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
            num_attention_heads=2,
        ),
        64,
    ),
    "mobilevitv2": (
        tf.MobileViTV2ForImageClassification,
        tf.MobileViTV2Config(image_size=64, width_multiplier=0.25),
        64,
    ),
    "levit": (
        tf.LevitForImageClassification,
        tf.LevitConfig(image_size=64, hidden_sizes=[16, 24, 32], depths=[1, 1, 1], key_dim=[8, 8, 8]),
        64,
    ),
    "pvt": (
        tf.PvtForImageClassification,
        tf.PvtConfig(image_size=64, hidden_sizes=[8, 16, 16, 32], depths=[1] * 4, num_attention_heads=[1, 2, 2, 4]),
        64,
    ),
    "cvt": (
        tf.CvtForImageClassification,
        tf.CvtConfig(embed_dim=[8, 16, 32], num_heads=[1, 2, 2], depth=[1, 2, 3]),
        64,
    ),
    "swiftformer": (
        tf.SwiftFormerForImageClassification,
        tf.SwiftFormerConfig(depths=[1] * 4, embed_dims=[8, 16, 16, 32], image_size=64),
        64,
    ),
    "donut-swin": (tf.DonutSwinForImageClassification, tf.DonutSwinConfig(**SWIN), 64),
}
REFUSED = {
    "yolos": (tf.YolosModel, tf.YolosConfig(**{**VIT, "image_size": [32, 32], "patch_size": 8})),
    "vit_mae": (tf.ViTMAEModel, tf.ViTMAEConfig(**PATCHED)),
    "imagegpt": (tf.ImageGPTForImageClassification, tf.ImageGPTConfig(n_embd=16, n_layer=1, n_head=2, vocab_size=9)),
    "bert": (tf.BertModel, tf.BertConfig(**VIT, vocab_size=9)),
    "videomae": (tf.VideoMAEModel, tf.VideoMAEConfig(**PATCHED, num_frames=2, tubelet_size=2)),
    "siglip2": (
        tf.Siglip2ForImageClassification,
        tf.Siglip2Config(vision_config={**VIT, "patch_size": 8, "num_patches": 16}, text_config=VIT),
    ),
}


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter and running statistic its own value, so that no two weights can be taken for each other."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand(buffer.shape, generator=generator))
    return model.eval()
