"""AutoBackbone's choice of a library, the selection of maps, and what all backbones have in common."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from sensorium.backbones import AutoBackbone, Backbone
from sensorium.backbones.backbone import select_stages
from sensorium.backbones.layouts import Layout, read_layout, stride_of
from sensorium.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    MissingWeightsError,
    OptionError,
    UnknownNameError,
)
from sensorium.tasks.heads import build_head

NAMES = ["stem", "stage1", "stage2", "stage3"]
RESNET = tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")


@pytest.fixture(params=["transformers", "timm"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return AutoBackbone.from_config(RESNET if request.param == "transformers" else "timm/resnet10t")


def test_select_stages() -> None:
    assert select_stages(NAMES, None, None) == (3,)
    assert select_stages(NAMES, "all", None) == (0, 1, 2, 3)
    assert select_stages(NAMES, (0, -1), None) == (0, 3)
    assert select_stages(NAMES, None, ["stage1", "stage2"]) == (1, 2)
    assert select_stages(NAMES, (1,), ["stage1"]) == (1,)


@pytest.mark.parametrize(
    ("out_indices", "out_features", "told"),
    [
        ((4,), None, r"\[-4, 3\]; got 4"),
        ((-5,), None, "got -5"),
        ((1, 1), None, r"Write \[1\]"),
        ((2, 1), None, r"Write \[1, 2\]"),
        ((1,), ["stage2"], "different maps"),
        (1, None, r"Write \(1,\)"),
        ("last", None, '"all"'),
        (None, "stage1", r"Write \('stage1',\)"),
    ],
)
def test_select_stages_refuses(out_indices: object, out_features: object, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        select_stages(NAMES, out_indices, out_features)  # type: ignore[arg-type]


def test_an_unknown_stage_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown feature 'stag1'\. Did you mean 'stage1'\?"):
        select_stages(NAMES, None, ["stag1"])


@pytest.mark.parametrize(
    ("length", "cells", "stride"), [(224, 7, 32), (224, 16, 14), (176, 6, 32), (600, 19, 32), (299, 149, 2)]
)
def test_strides_from_sizes_that_do_not_divide(length: int, cells: int, stride: int) -> None:
    assert stride_of(length, cells) == stride


@pytest.mark.parametrize(
    ("shape", "prefix", "layout"),
    [
        ((1, 24, 8, 12), 0, Layout("channels-first", (8, 8))),
        ((1, 8, 12, 24), 0, Layout("channels-last", (8, 8))),
        ((1, 97, 24), 1, Layout("tokens", (8, 8), 1)),
        ((1, 96, 24), 1, Layout("tokens", (8, 8), 0)),
    ],
)
def test_layouts(shape: tuple[int, ...], prefix: int, layout: Layout) -> None:
    assert read_layout(shape, (64, 96), prefix=prefix) == layout


@pytest.mark.parametrize("shape", [(1, 95, 24), (1, 24), (1, 24, 8, 11), (1, 100, 24), (1, 2, 24, 8, 12)])
def test_shapes_that_are_no_maps(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="no map"):
        read_layout(shape, (64, 96), prefix=0)


def test_maps_of_tokens_are_row_by_row() -> None:
    tokens = torch.arange(2 * 7 * 3).reshape(2, 7, 3)
    made = Layout("tokens", (8, 8), 1).to_map(tokens, (16, 24))
    assert made.shape == (2, 3, 2, 3)
    assert made[1, :, 1, 0].tolist() == tokens[1, 1 + 3].tolist()


def test_a_frozen_backbone_stays_in_evaluation_mode(backbone: Backbone) -> None:
    assert not backbone.training
    assert backbone.train().training and backbone.eval() is backbone
    assert backbone.freeze() is backbone
    composite = build_head(backbone, ["a", "b"]).train()
    assert composite.head.training
    assert not any(module.training for module in composite.backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    statistics = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    composite(torch.randn(2, 3, 64, 64)).logits.sum().backward()
    assert all(torch.equal(statistics[name], buffer) for name, buffer in backbone.named_buffers())
    assert [name for name, each in composite.named_parameters() if each.grad is not None] == [
        "head.linear.weight",
        "head.linear.bias",
    ]


def test_gradients_reach_every_weight_that_pools(backbone: Backbone) -> None:
    backbone.train().pool(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@torch.no_grad()
def test_a_copy_stands_alone(backbone: Backbone) -> None:
    pixels = torch.randn(1, 3, 64, 64)
    before = backbone(pixels)
    other = copy.deepcopy(backbone)
    for parameter in backbone.parameters():
        parameter.zero_()
    after = other(pixels)
    torch.testing.assert_close((after.pooled, after.feature_maps), (before.pooled, before.feature_maps))


@torch.no_grad()
def test_double_precision_is_kept(backbone: Backbone) -> None:
    pixels = torch.randn(1, 3, 64, 64)
    single = backbone(pixels)
    double = backbone.double()(pixels.double())
    assert double.pooled is not None and double.pooled.dtype == torch.float64
    torch.testing.assert_close(double.pooled.float(), single.pooled, rtol=1e-4, atol=1e-5)


def test_a_factory_is_never_an_instance() -> None:
    with pytest.raises(TypeError, match="from_pretrained"):
        AutoBackbone()


def test_what_from_config_refuses() -> None:
    with pytest.raises(OptionError, match="from_pretrained"):
        AutoBackbone.from_config("microsoft/resnet-50")
    with pytest.raises(OptionError, match="model_args"):
        AutoBackbone.from_config(RESNET, model_args={"depth": 1})
    with pytest.raises(CheckpointError, match="model_type"):
        AutoBackbone.from_config({"model_type": "resnett"})
    with pytest.raises(CheckpointError, match="library"):
        AutoBackbone.from_config({"library": "jax", "architecture": "x"})


def test_a_missing_folder_is_an_error_and_never_a_download(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        AutoBackbone.from_pretrained(tmp_path / "nothing")


def test_a_composite_gives_its_backbone(tmp_path: Path, backbone: Backbone) -> None:
    build_head(backbone.eval(), ["a", "b"]).save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(AutoBackbone.from_pretrained(tmp_path).pool(pixels), backbone.pool(pixels))
    state = load_file(tmp_path / "model.safetensors")
    save_file({name: each for name, each in state.items() if "weight" not in name}, tmp_path / "model.safetensors")
    with pytest.raises(MissingWeightsError, match="weight"):
        AutoBackbone.from_pretrained(tmp_path)


def test_names_resolve_on_the_hub(hub: object, tmp_path: Path) -> None:
    model = tf.ResNetForImageClassification(RESNET).eval()
    model.save_pretrained(tmp_path)
    hub.add("org/resnet", tmp_path)  # type: ignore[attr-defined]
    pixels = torch.randn(1, 3, 32, 32)
    pooled = AutoBackbone.from_pretrained("org/resnet").pool(pixels)
    torch.testing.assert_close(model.classifier(pooled), model(pixels).logits)
