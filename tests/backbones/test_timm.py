"""timm backbones against timm itself, on small architectures with random weights saved to folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from sensorium.backbones import AutoBackbone
from sensorium.backbones.backbone import unique_state
from sensorium.checkpoints import LoadOptions
from sensorium.errors import CheckpointError, MissingWeightsError, OptionError, UnknownNameError

from .transformers_configs import randomise

# name: (arguments of the architecture, the size of its pictures)
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "resnet10t": ({}, 64),
    "mobilenetv3_small_050": ({}, 64),
    "mobilenetv2_050": ({}, 64),
    "lcnet_050": ({}, 64),
    "convnext_atto": ({}, 64),
    "test_efficientnet": ({}, 64),
    "tinynet_e": ({}, 64),
    "regnetx_002": ({}, 64),
    "efficientvit_b0": ({}, 64),
    "ghostnet_050": ({}, 64),
    "edgenext_xx_small": ({}, 64),
    "hgnetv2_b0": ({}, 64),
    "repvgg_a0": ({}, 64),
    "dla46_c": ({}, 64),
    "levit_128s": ({"img_size": 64}, 64),
    "vit_tiny_patch16_224": ({"img_size": 32, "depth": 2}, 32),
    "deit_tiny_distilled_patch16_224": ({"img_size": 32, "depth": 2}, 32),
    "eva02_tiny_patch14_224": ({"img_size": 28, "depth": 2}, 28),
    "swin_tiny_patch4_window7_224": (
        {"img_size": 64, "window_size": 4, "depths": (1, 1, 1, 1), "embed_dim": 24},
        64,
    ),
}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def save(name: str, folder: Path) -> Any:
    model = randomise(timm.create_model(name, num_classes=7, **MODELS[name][0]))
    save_for_hf(model, folder, safe_serialization=True)
    return model


def images(name: str) -> torch.Tensor:
    size = MODELS[name][1]
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_maps_and_pooled_features_are_timms(name: str, tmp_path: Path) -> None:
    model = save(name, tmp_path)
    pixels = images(name)
    backbone = AutoBackbone.from_pretrained(tmp_path, out_indices="all")
    features: Any = timm.create_model(
        f"local-dir:{tmp_path}", pretrained=True, features_only=True, out_indices=backbone.out_indices
    ).eval()
    output = backbone(pixels)
    for ours, theirs, channels, stride in zip(
        output.feature_maps, features(pixels), backbone.channels, backbone.strides, strict=True
    ):
        channels_first = theirs if theirs.shape == ours.shape else theirs.permute(0, 3, 1, 2)  # Swin's are not
        torch.testing.assert_close(ours, channels_first, **CLOSE)
        assert ours.shape[1:] == (channels, pixels.shape[2] // stride, pixels.shape[3] // stride)
    last = model.forward_features(pixels)
    pooled = model.forward_head(last, pre_logits=True).flatten(1)
    torch.testing.assert_close(output.pooled, pooled, **CLOSE)
    torch.testing.assert_close(backbone.pool(pixels), pooled, **CLOSE)
    assert backbone.num_features == pooled.shape[1]
    classifier = model.get_classifier()
    if isinstance(classifier, torch.nn.Linear):
        torch.testing.assert_close(classifier(output.pooled), model(pixels), **CLOSE)
    assert output.tokens is not None
    positions = output.tokens[:, output.prefix_tokens :]
    assert output.prefix_tokens == (getattr(model, "num_prefix_tokens", 0) or 0)
    assert positions.shape[1] == output.feature_maps[-1][0, 0].numel()
    assert set(positions.flatten().tolist()) <= set(last.flatten().tolist())
    alone = backbone(pixels, pooled=False, tokens=False)
    torch.testing.assert_close(alone.feature_maps, output.feature_maps, **CLOSE)
    assert alone.pooled is None and alone.tokens is None
    again = AutoBackbone.from_config(json.loads(json.dumps(backbone.spec)))
    expected, found = unique_state(backbone), unique_state(again)
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}
    assert (again.out_features, again.geometry) == (backbone.out_features, backbone.geometry)


def test_the_size_that_a_checkpoint_was_trained_at_is_part_of_the_spec(tmp_path: Path) -> None:
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=48, depth=1)
    save_for_hf(model, tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["model_args"][
        "img_size"
    ]  # as in checkpoints of timm before 1.0.20, which have it in pretrained_cfg only
    config["pretrained_cfg"] |= {"input_size": [3, 48, 48], "fixed_input_size": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    backbone = AutoBackbone.from_config(AutoBackbone.from_pretrained(tmp_path).spec)
    assert backbone(torch.zeros(1, 3, 48, 48)).feature_maps[0].shape == (1, 192, 3, 3)


@torch.no_grad()
def test_names_and_indices(tmp_path: Path) -> None:
    model = save("resnet10t", tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path, out_features=["layer2", "layer4"])
    assert (backbone.out_indices, backbone.channels, backbone.strides) == ((2, 4), [128, 512], [8, 32])
    pixels = images("resnet10t")
    by_index = AutoBackbone.from_pretrained(tmp_path, out_indices=(2, -1))
    torch.testing.assert_close(by_index(pixels).feature_maps, backbone(pixels).feature_maps, rtol=0, atol=0)
    torch.testing.assert_close(by_index(pixels).feature_maps[-1], model.forward_features(pixels), **CLOSE)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'layer4'\?"):
        AutoBackbone.from_pretrained(tmp_path, out_features=["layer5"])


@pytest.mark.parametrize(
    ("name", "key"),
    [("resnet10t", "layer1.0.conv1.weight"), ("dla46_c", "level2.tree1.conv1.weight")],  # timm loads DLA without care
)
def test_a_missing_weight_is_named_and_never_random(name: str, key: str, tmp_path: Path) -> None:
    save(name, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state[key]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(MissingWeightsError, match=key.replace(".", r"\.")):
        AutoBackbone.from_pretrained(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save("resnet10t", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["layer1.0.conv1.weight"] = torch.zeros(3, 3)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layer1\.0\.conv1\.weight"):
        AutoBackbone.from_pretrained(tmp_path)


def test_wrong_names_and_arguments() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet10t'") as caught:
        AutoBackbone.from_config("timm/resnet10")
    assert len(str(caught.value)) < 500  # not all of timm's thousand names
    with pytest.raises(OptionError, match="depht"):
        AutoBackbone.from_config("timm/vit_tiny_patch16_224", model_args={"depht": 2})


def test_options_of_transformers_are_not_ignored(tmp_path: Path) -> None:
    save("resnet10t", tmp_path)
    with pytest.raises(OptionError, match="attn_implementation"):
        AutoBackbone.from_pretrained(tmp_path, options=LoadOptions(attn_implementation="sdpa"))


@torch.no_grad()
def test_a_checkpoint_that_transformers_saved_of_a_timm_model(tmp_path: Path) -> None:
    config = tf.TimmWrapperConfig(architecture="resnet10t", num_labels=7)
    model = randomise(tf.TimmWrapperForImageClassification(config))
    model.save_pretrained(tmp_path)
    pixels = images("resnet10t")
    backbone = AutoBackbone.from_pretrained(tmp_path)
    timm_model: Any = model.timm_model
    torch.testing.assert_close(timm_model.get_classifier()(backbone.pool(pixels)), model(pixels).logits, **CLOSE)


@torch.no_grad()
def test_dtype(tmp_path: Path) -> None:
    save("resnet10t", tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path, options=LoadOptions(dtype=torch.bfloat16))
    assert backbone.pool(images("resnet10t").bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("architecture", "out_indices"), [("resnet10t", (1, 2, 3)), ("resnet10t", (-1,)), ("convnext_atto", (0, 2))]
)
def test_transformers_timm_backbone_with_the_maps_that_it_was_saved_for(
    architecture: str, out_indices: tuple[int, ...], tmp_path: Path
) -> None:
    config = tf.TimmBackboneConfig(backbone=architecture, out_indices=list(out_indices), use_pretrained_backbone=False)
    torch.manual_seed(0)
    reference = tf.TimmBackbone(config).eval()
    reference.save_pretrained(tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = reference(pixels).feature_maps
        got = backbone(pixels)
    again = AutoBackbone.from_config(backbone.spec)
    assert len(got.feature_maps) == len(expected) == len(backbone.out_features)
    for one, other in zip(got.feature_maps, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert got.pooled is None and got.tokens is None
    assert again.out_features == backbone.out_features
    with pytest.raises(MissingWeightsError, match="backbone alone"):
        backbone(pixels, pooled=True)
