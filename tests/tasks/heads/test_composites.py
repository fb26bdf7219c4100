"""Heads on bare backbones, and composites in one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from sensorium.backbones import AutoBackbone, Backbone
from sensorium.checkpoints import LoadOptions, resolve
from sensorium.errors import CheckpointError, MissingWeightsError, OptionError
from sensorium.tasks.heads import Composite, LinearClassifier, build_head

LABELS = ["cat", "dog", "Füchse"]
CLASSIFIER = {"format": 1, "task": "image-classification", "backbone": {}}
SWIN = tf.SwinConfig(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, num_labels=5)
RESNET = tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
BACKBONES: dict[str, tuple[Any, dict[str, Any]]] = {
    "resnet": (RESNET, {}),
    "swin": (SWIN, {"out_indices": (0, 1)}),
    "timm": ("timm/lcnet_050", {"out_indices": (2,)}),
    "timm-vit": ("timm/vit_tiny_patch16_224", {"model_args": {"img_size": 64, "depth": 1}}),
}


class Processor:
    """Stands for an image processor, which writes its own file."""

    def save_pretrained(self, folder: Path, /) -> None:
        (folder / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')


def make_backbone(name: str) -> Backbone:
    torch.manual_seed(0)
    config, arguments = BACKBONES[name]
    return AutoBackbone.from_config(config, **arguments)


@pytest.fixture(params=BACKBONES)
def composite(request: pytest.FixtureRequest) -> Composite:
    made = build_head(make_backbone(request.param), LABELS, problem_type="multi_label_classification").train()
    with torch.no_grad():
        made(torch.randn(4, 3, 64, 64))  # gives batch norms statistics of their own
    return made.eval()


@torch.no_grad()
def test_a_round_trip_is_bit_exact(composite: Composite, tmp_path: Path) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    composite.save_pretrained(tmp_path, Processor())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert resolve(tmp_path).kind == "composite"
    again = Composite.from_pretrained(tmp_path)
    assert not again.training
    state = composite.state_dict()
    assert again.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    torch.testing.assert_close(again(pixels).logits, composite(pixels).logits)
    assert again.id2label == {0: "cat", 1: "dog", 2: "Füchse"} and again.num_labels == 3
    assert again.problem_type == "multi_label_classification"
    assert again.backbone.spec == composite.backbone.spec
    ours, theirs = again.backbone(pixels), composite.backbone(pixels)
    torch.testing.assert_close(ours.feature_maps, theirs.feature_maps)  # kernels may depend on where weights lie
    again.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@torch.no_grad()
def test_the_logits_are_those_of_a_linear_layer_on_the_pooled_features(composite: Composite) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    head = composite.head
    expected = composite.backbone.pool(pixels) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(composite(pixels).logits, expected)


@torch.no_grad()
def test_a_head_on_a_trained_backbone_can_be_its_own_classifier(tmp_path: Path) -> None:
    model = tf.SwinForImageClassification(SWIN).eval()
    model.save_pretrained(tmp_path)
    composite = build_head(AutoBackbone.from_pretrained(tmp_path), [str(index) for index in range(5)])
    composite.head.linear.load_state_dict(model.classifier.state_dict())
    pixels = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(composite.eval()(pixels).logits, model(pixels).logits)


def test_others_can_read_the_config(composite: Composite, tmp_path: Path) -> None:
    composite.save_pretrained(tmp_path)
    config = tf.PreTrainedConfig.from_pretrained(tmp_path)
    assert config.id2label == {0: "cat", 1: "dog", 2: "Füchse"}
    assert config.label2id == {"cat": 0, "dog": 1, "Füchse": 2}
    assert config.num_labels == 3 and config.problem_type == "multi_label_classification"
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert written["num_labels"] == 3 and written["pipeline_tag"] == "image-classification"
    assert written["architectures"] == ["Composite"]
    assert written["sensorium"]["task"] == "image-classification"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_weights_may_be_stored_in_half_the_bits(dtype: torch.dtype, tmp_path: Path) -> None:
    composite = build_head(make_backbone("timm"), LABELS).eval()
    composite.save_pretrained(tmp_path, dtype=dtype)
    stored = load_file(tmp_path / "model.safetensors")
    assert {each.dtype for each in stored.values() if each.is_floating_point()} == {dtype}
    assert any(each.dtype == torch.int64 for each in stored.values())  # num_batches_tracked
    again = Composite.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    expected = composite.head.linear.weight.to(dtype).float()
    assert torch.equal(again.head.linear.weight, expected)
    half = Composite.from_pretrained(tmp_path, options=LoadOptions(dtype=dtype))
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_are_checked_strictly(change: str, tmp_path: Path) -> None:
    composite = build_head(make_backbone("resnet"), LABELS)
    composite.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    if change == "missing":
        del state["head.linear.bias"]
    elif change == "unexpected":
        state["head.linear.scale"] = torch.ones(1)
    else:
        state["head.linear.bias"] = torch.ones(1)
    save_file(state, tmp_path / "model.safetensors")
    error = MissingWeightsError if change == "missing" else CheckpointError
    with pytest.raises(error, match=r"head\.linear\.(bias|scale)"):
        Composite.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("id2label", {"0": "cat", "7": "dog"}, "id2label"),
        ("id2label", {}, "id2label"),
        ("problem_type", "guess", "problem_type"),
        ("sensorium", {"format": 1}, "not a composite"),
        ("sensorium", {"format": 2, "backbone": {}, "head": {"type": "linear"}}, "Update sensorium"),
        ("sensorium", {**CLASSIFIER, "head": {"type": "quadratic"}}, "'linear'"),
        ("sensorium", {**CLASSIFIER, "task": "image-telepathy"}, "no head for"),
    ],
)
def test_a_broken_config_is_refused(key: str, value: Any, told: str, tmp_path: Path) -> None:
    build_head(make_backbone("resnet"), LABELS).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(CheckpointError, match=told):
        Composite.from_pretrained(tmp_path)


def test_a_checkpoint_of_transformers_is_no_composite(tmp_path: Path) -> None:
    tf.ResNetModel(RESNET).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"AutoBackbone\.from_pretrained"):
        Composite.from_pretrained(tmp_path)


def test_options_of_transformers_are_not_ignored(tmp_path: Path) -> None:
    build_head(make_backbone("resnet"), LABELS).save_pretrained(tmp_path)
    with pytest.raises(OptionError, match="device_map"):
        Composite.from_pretrained(tmp_path, options=LoadOptions(device_map="auto"))


def test_a_failed_save_leaves_what_was_there(tmp_path: Path) -> None:
    composite = build_head(make_backbone("resnet"), LABELS)
    composite.save_pretrained(tmp_path, Processor())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    class Broken:
        def save_pretrained(self, folder: Path, /) -> None:
            raise OSError("disk full")

    with torch.no_grad():
        composite.head.linear.weight.zero_()
    with pytest.raises(OSError, match="disk full"):
        composite.save_pretrained(tmp_path, Broken())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("labels", [[], ["cat", "cat"], "cat"])
def test_labels_must_be_different_names(labels: Any) -> None:
    with pytest.raises(OptionError, match="labels"):
        build_head(make_backbone("resnet"), labels)


def test_a_problem_type_that_does_not_exist() -> None:
    with pytest.raises(OptionError, match="single_label_classification"):
        build_head(make_backbone("resnet"), LABELS, problem_type="regression")  # type: ignore[arg-type]


def test_a_backbone_without_pooled_features_takes_no_head(tmp_path: Path) -> None:
    config = tf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
    tf.ConvNextBackbone(config).save_pretrained(tmp_path)
    with pytest.raises(MissingWeightsError, match="pooled"):
        build_head(AutoBackbone.from_pretrained(tmp_path), LABELS)


def test_dropout_is_for_training_only() -> None:
    head = LinearClassifier(8, 2, dropout=0.5)
    pooled = torch.randn(4, 8)
    assert not torch.equal(head(pooled), head(pooled))
    assert torch.equal(head.eval()(pooled), head(pooled))


def test_a_composite_learns() -> None:
    torch.manual_seed(0)
    composite = build_head(make_backbone("resnet"), ["dark", "light"]).train()
    pixels = torch.cat([torch.randn(8, 3, 32, 32) - 1, torch.randn(8, 3, 32, 32) + 1])
    target = torch.arange(2).repeat_interleave(8)
    optimizer = torch.optim.AdamW(composite.parameters(), lr=1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(composite(pixels).logits, target).backward()
        optimizer.step()
    assert (composite.eval()(pixels).logits.argmax(1) == target).all()
