"""Transformers backbones against Transformers itself, on tiny random models saved to folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

from sensorium.backbones import AutoBackbone
from sensorium.backbones.backbone import unique_state
from sensorium.backbones.parts import _NORMS, _TRUNKS
from sensorium.checkpoints import LoadOptions
from sensorium.errors import CheckpointError, MissingWeightsError, UnknownNameError, UnsafeCheckpointError

from .transformers_configs import HIDDEN_STATES_ONLY, REFUSED, WITH_BACKBONE_CLASS, randomise

CASES = {**WITH_BACKBONE_CLASS, **HIDDEN_STATES_ONLY}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # the same operations on the same weights; a batch may be split otherwise


def save(name: str, folder: Path) -> torch.nn.Module:
    model_class, config, _ = CASES[name]
    model = randomise(model_class(config))
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module", params=CASES)
def saved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, torch.nn.Module, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, save(request.param, folder), folder


def images(name: str) -> torch.Tensor:
    _, config, size = CASES[name]
    height, width = (size, size) if isinstance(size, int) else size
    channels = getattr(getattr(config, "vision_config", config), "num_channels", 3)
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1))


def classifier_input(model: Any, pixels: torch.Tensor) -> torch.Tensor | None:
    """What the model's own classifier is fed; None where it has none."""
    if not type(model).__name__.endswith("ForImageClassification"):
        return None
    names = [name for name in ("fc", "head", "classifier") if hasattr(model, name)]
    layer = getattr(model, names[0])
    if isinstance(layer, torch.nn.Sequential):
        layer = next(child for child in layer if isinstance(child, torch.nn.Linear))
    fed: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0]))
    model(pixels)
    handle.remove()
    return fed[0]


@torch.no_grad()
def test_maps_are_those_of_transformers(saved: tuple[str, torch.nn.Module, Path]) -> None:
    name, model, folder = saved
    pixels = images(name)
    backbone = AutoBackbone.from_pretrained(folder, out_indices="all")
    if name in WITH_BACKBONE_CLASS:
        reference_class = MODEL_FOR_BACKBONE_MAPPING[type(CASES[name][1])]
        reference = reference_class.from_pretrained(folder, out_indices=list(backbone.out_indices)).eval()
        if name == "pixio":  # loading one, Transformers takes each of its two norms for the other
            reference.load_state_dict(model.state_dict())
        expected = reference(pixels).feature_maps
    else:
        outputs = model(pixels, output_hidden_states=True)
        expected = getattr(outputs, "reshaped_hidden_states", None) or outputs.hidden_states
    output = backbone(pixels)
    for ours, theirs, channels, stride in zip(
        output.feature_maps, expected, backbone.channels, backbone.strides, strict=True
    ):
        batch, _, height, width = ours.shape
        if theirs.ndim == 3:  # tokens: the positions come last, row by row
            positions = theirs[:, -height * width :].reshape(batch, height, width, -1).permute(0, 3, 1, 2)
            torch.testing.assert_close(ours, positions, **CLOSE)
        else:
            torch.testing.assert_close(ours, theirs, **CLOSE)
        assert ours.shape[1] == channels
        assert (height * stride, width * stride) == tuple(pixels.shape[2:])
    alone = backbone(pixels, pooled=False, tokens=False)
    assert alone.pooled is None and alone.tokens is None
    torch.testing.assert_close(alone.feature_maps, output.feature_maps, rtol=0, atol=0)


@torch.no_grad()
def test_pooled_features_are_what_the_classifier_is_fed(saved: tuple[str, torch.nn.Module, Path]) -> None:
    name, model, folder = saved
    pixels = images(name)
    backbone = AutoBackbone.from_pretrained(folder, out_indices=(1,))
    expected = classifier_input(model, pixels)
    if expected is None:  # no classifier: the bare model's own pooling
        bare: Any = getattr(model, "pixio", model)
        expected = getattr(bare(pixels), "pooler_output", None)
    output = backbone(pixels)
    assert output.pooled is not None and output.pooled.shape == (2, backbone.num_features)
    torch.testing.assert_close(backbone.pool(pixels), output.pooled, **CLOSE)
    if expected is not None:
        torch.testing.assert_close(output.pooled, expected.flatten(1), **CLOSE)
    else:
        last = AutoBackbone.from_pretrained(folder)(pixels)
        assert last.tokens is not None
        torch.testing.assert_close(output.pooled, last.tokens[:, last.prefix_tokens :].mean(1), **CLOSE)


@pytest.mark.parametrize(
    ("name", "prefix"), [("vit", 1), ("deit", 2), ("siglip", 0), ("dinov2_with_registers", 4), ("dinov3_vit", 3)]
)
@torch.no_grad()
def test_tokens_are_the_last_hidden_state_and_the_prefix_is_counted(name: str, prefix: int, tmp_path: Path) -> None:
    model: Any = save(name, tmp_path)
    bare = getattr(model, "vision_model", None) or (model.base_model if hasattr(model, "classifier") else model)
    pixels = images(name)
    output = AutoBackbone.from_pretrained(tmp_path)(pixels)
    assert output.tokens is not None and output.token_mask is None and output.prefix_tokens == prefix
    torch.testing.assert_close(output.tokens, bare(pixels).last_hidden_state, **CLOSE)
    assert output.tokens.shape[1] - prefix == output.feature_maps[0][0, 0].numel()


@pytest.mark.parametrize("name", [*_TRUNKS, *_NORMS, "hgnet_v2", "pp_lcnet"])
@torch.no_grad()
def test_maps_and_pooled_features_together_are_one_pass(name: str, tmp_path: Path) -> None:
    save(name, tmp_path)
    backbone: Any = AutoBackbone.from_pretrained(tmp_path)
    calls: list[str] = []
    shared = {id(module) for module in backbone.maps.modules()} & {id(module) for module in backbone.model.modules()}
    assert not shared  # the modules differ, only their parameters are the same, so that calls can be told apart
    for part in ("maps", "model"):
        for module in getattr(backbone, part).modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda *_, part=part: calls.append(part))
    backbone(images(name))
    trunk = calls.count("maps")
    assert trunk > 0
    assert calls.count("model") <= (1 if name == "pp_lcnet" else 0)  # its last convolution comes after the pooling


def test_weights_are_held_once(tmp_path: Path) -> None:
    model = save("swin", tmp_path)
    backbone: Any = AutoBackbone.from_pretrained(tmp_path, out_indices=(1, 2))
    mine, theirs = backbone.maps.swin.encoder.layers[0], backbone.model.swin.encoder.layers[0]
    for ours, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert ours is other
    trunk = sum(parameter.numel() for parameter in model.base_model.parameters())
    norms = 2 * sum(backbone.channels)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == trunk + norms


@torch.no_grad()
def test_names_and_negative_indices_select_the_same_maps(tmp_path: Path) -> None:
    save("swin", tmp_path)
    pixels = images("swin")
    by_name = AutoBackbone.from_pretrained(tmp_path, out_features=["stage1", "stage3"])
    by_index = AutoBackbone.from_pretrained(tmp_path, out_indices=(1, -1))
    assert by_name.out_features == by_index.out_features == ["stage1", "stage3"]
    assert by_name.out_indices == by_index.out_indices == (1, 3)
    torch.testing.assert_close(by_name(pixels).feature_maps, by_index(pixels).feature_maps, rtol=0, atol=0)
    assert AutoBackbone.from_pretrained(tmp_path).out_features == ["stage3"]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'stage3'\?"):
        AutoBackbone.from_pretrained(tmp_path, out_features=["stage33"])


@torch.no_grad()
def test_a_saved_backbone_keeps_its_own_selection_and_norms(tmp_path: Path) -> None:
    config = tf.SwinConfig(
        **{**CASES["swin"][1].to_dict(), "out_features": ["stage1", "stage2"], "out_indices": [1, 2]}
    )
    model = randomise(tf.SwinBackbone(config))
    model.save_pretrained(tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path)
    assert backbone.out_indices == (1, 2)
    pixels = images("swin")
    torch.testing.assert_close(backbone(pixels).feature_maps, model(pixels).feature_maps, **CLOSE)


@torch.no_grad()
def test_pictures_that_are_not_square(tmp_path: Path) -> None:
    model = save("regnet", tmp_path)
    pixels = torch.randn(1, 3, 64, 96)
    maps = AutoBackbone.from_pretrained(tmp_path, out_indices=(-2, -1))(pixels).feature_maps
    states = model(pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(maps, tuple(states[-2:]), **CLOSE)


@pytest.mark.parametrize("name", ["swin", "vit", "convnext"])
def test_a_missing_weight_is_named_and_never_random(name: str, tmp_path: Path) -> None:
    save(name, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    key = next(key for key in state if "patch_embeddings" in key and key.endswith("weight"))
    del state[key]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingWeightsError, match=key.split(".", 1)[1].replace(".", r"\.")):
        AutoBackbone.from_pretrained(tmp_path)


@torch.no_grad()
def test_a_checkpoint_of_the_backbone_alone_gives_maps_only(tmp_path: Path) -> None:
    model = randomise(tf.ConvNextBackbone(CASES["convnext"][1]))
    model.save_pretrained(tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path)
    pixels = images("convnext")
    output = backbone(pixels)
    torch.testing.assert_close(output.feature_maps, model(pixels).feature_maps, **CLOSE)
    assert output.pooled is None and output.tokens is None and backbone.num_features == 0
    with pytest.raises(MissingWeightsError, match=r"layernorm\.weight"):
        backbone.pool(pixels)


@torch.no_grad()
def test_a_checkpoint_without_the_final_norm_gives_all_but_pooled_features(tmp_path: Path) -> None:
    model = randomise(tf.PoolFormerModel(CASES["poolformer"][1]))
    model.save_pretrained(tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path)
    pixels = images("poolformer")
    output = backbone(pixels)
    torch.testing.assert_close(output.feature_maps[0], model(pixels).last_hidden_state, **CLOSE)
    assert output.tokens is not None and output.pooled is None
    with pytest.raises(MissingWeightsError, match=r"norm\.weight"):
        backbone.pool(pixels)


@torch.no_grad()
def test_a_checkpoint_without_a_head_pools_as_one_with_a_head(tmp_path: Path) -> None:
    model = save("vit", tmp_path / "head")
    model.base_model.save_pretrained(tmp_path / "bare")
    pixels = images("vit")
    with_head, bare = (AutoBackbone.from_pretrained(tmp_path / name) for name in ("head", "bare"))
    torch.testing.assert_close(bare.pool(pixels), with_head.pool(pixels), rtol=0, atol=0)


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_whose_states_are_no_maps_is_refused(name: str) -> None:
    _, config = REFUSED[name]
    with pytest.raises(CheckpointError):
        AutoBackbone.from_config(config)


def test_a_spec_builds_the_same_architecture_again(saved: tuple[str, torch.nn.Module, Path]) -> None:
    backbone = AutoBackbone.from_pretrained(saved[2], out_indices=(1,))
    again = AutoBackbone.from_config(backbone.spec)
    expected, found = unique_state(backbone), unique_state(again)
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}
    assert (again.out_features, again.strides, again.spec) == (backbone.out_features, backbone.strides, backbone.spec)


def test_remote_code_runs_only_if_asked_for(tmp_path: Path) -> None:
    model = tf.ViTModel(CASES["vit"][1])
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    auto_map = {"AutoConfig": "made_up.Made", "AutoModel": "made_up.MadeModel"}
    config = {**model.config.to_dict(), "model_type": "made_up", "auto_map": auto_map}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (tmp_path / "made_up.py").write_text(
        f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"
        "from transformers import ViTConfig, ViTModel\n"
        "class Made(ViTConfig):\n    model_type = 'made_up'\n"
        "class MadeModel(ViTModel):\n    config_class = Made\n    config: Made\n"
    )
    with pytest.raises(UnsafeCheckpointError, match="trust_remote_code"):
        AutoBackbone.from_pretrained(tmp_path)
    assert not ran.exists()
    options = LoadOptions(trust_remote_code=True)
    maps = AutoBackbone.from_pretrained(tmp_path, options=options)(images("vit")).feature_maps
    assert ran.exists() and maps[0].shape == (2, 16, 4, 4)


@torch.no_grad()
def test_the_example_of_the_documentation() -> None:
    backbone = AutoBackbone.from_config(tf.SwinConfig(), out_indices=(1,))  # swin-tiny-patch4-window7-224
    (feature_map,) = backbone(torch.zeros(1, 3, 224, 224), pooled=False, tokens=False).feature_maps
    assert feature_map.shape == (1, 96, 56, 56)
    assert (backbone.channels, backbone.strides, backbone.num_features) == ([96], [4], 768)


@torch.no_grad()
def test_whole_graphs_are_compiled(tmp_path: Path) -> None:
    save("vit", tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    pixels = images("vit")
    torch.testing.assert_close(compiled(pixels).pooled, backbone(pixels).pooled, rtol=0, atol=0)


def test_each_of_pixio_s_norms_is_its_own(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = tf.PixioConfig(**sizes, image_size=32, patch_size=16, out_features=["stage1", "stage2"])
    torch.manual_seed(0)
    saved = tf.PixioBackbone(config).eval()
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    saved.save_pretrained(tmp_path)
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected, got = saved(pixels).feature_maps, AutoBackbone.from_pretrained(tmp_path)(pixels).feature_maps
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("side", "patch"), [(56, 14), (28, 14), (112, 14), (48, 12), (60, 15)])
def test_of_two_strides_that_fit_the_config_s_patch_is_meant(side: int, patch: int, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    torch.manual_seed(0)
    model = tf.Dinov2Model(tf.Dinov2Config(**sizes, image_size=side, patch_size=patch)).eval()
    model.save_pretrained(tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path)
    with torch.no_grad():
        maps = backbone(torch.rand(1, 3, side, side)).feature_maps
    assert maps[0].shape == (1, 16, side // patch, side // patch)
