"""image-feature-extraction against Transformers' pipeline and AutoBackbone, on the same checkpoint, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

import sensorium
from sensorium.errors import OptionError, TaskMismatchError, UnknownNameError
from tests import tiny
from tests.contract import Contract
from tests.media import make_image, make_images

PARITY = 5e-5  # float32 rounding through a few layers, on hidden states of about 1 to 3


def ours(name, **settings):
    return sensorium.pipeline(
        "image-feature-extraction", name, **{"device": "cpu", "dtype": "float32", "compile": False, **settings}
    )


@pytest.mark.parametrize("architecture", ["vit", "deit", "beit", "dinov2", "vit_msn", "ijepa", "hiera", "swin"])
def test_tokens_equal_the_reference_pipeline(architecture):
    folder = tiny.folder(architecture)
    reference = transformers.pipeline("image-feature-extraction", model=str(folder), device="cpu")(make_images())
    with ours(folder, batch_size=4) as pipe:
        results = pipe(make_images())
    for result, expected in zip(results, reference, strict=True):
        np.testing.assert_allclose(np.array(result.to_dict()), np.array(expected), atol=PARITY)


@pytest.mark.parametrize("architecture", ["convnext", "resnet", "swin", "focalnet"])
def test_pooled_equals_the_reference_pooler(architecture):
    folder = tiny.folder(architecture)
    reference = transformers.pipeline("image-feature-extraction", model=str(folder), device="cpu")
    expected = reference(make_image(), pool=True)
    with ours(folder) as pipe:
        result = pipe(make_image(), pool="pooled")
    np.testing.assert_allclose(result.vector, np.array(expected).reshape(-1), atol=PARITY)


@pytest.mark.parametrize("architecture", ["swin", "convnext", "resnet", "dinov2", "beit"])
def test_feature_maps_equal_transformers_auto_backbone(architecture):
    folder = tiny.folder(architecture)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with ours(folder) as pipe:
        names = pipe.model.out_features
        result = pipe(make_image(), feature_maps=(0, names[-1]))
    kind = MODEL_FOR_BACKBONE_MAPPING[type(transformers.AutoConfig.from_pretrained(folder))]
    backbone = kind.from_pretrained(folder, out_features=[names[0], names[-1]])
    with torch.no_grad():
        expected = backbone(**processor(make_image(), return_tensors="pt")).feature_maps
    assert result.out_features == (names[0], names[-1])
    for got, want in zip(result.feature_maps, expected, strict=True):
        np.testing.assert_allclose(got, want[0].numpy(), atol=PARITY)


def test_pooling_is_what_it_says():
    with ours(tiny.folder("vit")) as pipe:
        tokens = pipe(make_image()).vector
        got = {pool: pipe(make_image(), pool=pool).vector for pool in ("cls", "mean", "max")}
        unit = pipe(make_image(), pool="mean", normalize=True).vector
    np.testing.assert_allclose(got["cls"], tokens[0], atol=1e-6)
    np.testing.assert_allclose(got["mean"], tokens[1:].mean(0), atol=1e-6)
    np.testing.assert_allclose(got["max"], tokens[1:].max(0), atol=1e-6)
    np.testing.assert_allclose(unit, got["mean"] / np.linalg.norm(got["mean"]), atol=1e-6)


def test_torch_output_is_a_cpu_tensor_of_the_same_values():
    with ours(tiny.folder("vit")) as pipe:
        tensor = pipe(make_image(), return_tensors="pt", pool="cls").vector
        array = pipe(make_image(), pool="cls").vector
    assert isinstance(tensor, torch.Tensor)
    assert tensor.device.type == "cpu"
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_similarity_of_embeddings():
    with ours(tiny.folder("vit")) as pipe:
        embeddings = pipe([make_image(seed=0), make_image(seed=0), make_image(seed=3)], pool="mean")
    same = sensorium.similarity(embeddings[0], embeddings[1])
    other = sensorium.similarity(embeddings[0], embeddings[2])
    a, b = embeddings[0].vector.astype(np.float64), embeddings[2].vector.astype(np.float64)
    assert same == pytest.approx(1)
    assert other == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
    matrix = sensorium.similarity(embeddings, embeddings)
    assert matrix.shape == (3, 3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    assert matrix[0, 2] == pytest.approx(other, abs=1e-6)
    with pytest.raises(ValueError, match="pooled"), ours(tiny.folder("vit")) as pipe:
        tokens = pipe(make_image())
        sensorium.similarity(tokens, tokens)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"pool": "median"}, OptionError, "pool is one of"),
        ({"pool": True}, OptionError, "pool is one of"),
        ({"feature_maps": 3}, OptionError, "sequence"),
        ({"feature_maps": (99,)}, OptionError, "feature_maps lie in"),
        ({"feature_maps": ("stage99",)}, UnknownNameError, "Did you mean"),
        ({"return_tensors": "jax"}, OptionError, "return_tensors"),
    ],
)
def test_bad_options_fail_before_any_work(options, error, match):
    with ours(tiny.folder("vit")) as pipe, pytest.raises(error, match=match):
        pipe("nowhere.jpg", **options)


def test_a_bare_checkpoint_finds_this_task_by_itself():
    with sensorium.pipeline(model=tiny.folder("vit", bare=True), device="cpu", dtype="float32") as pipe:
        assert pipe.task.name == "image-feature-extraction"


def test_class_token_where_there_is_none_is_an_error_before_any_work():
    with ours(tiny.folder("convnext")) as pipe, pytest.raises(OptionError, match="no class token"):
        pipe(make_image(), pool="cls")


@pytest.mark.parametrize("architecture", ["swin", "convnext", "vit"])
def test_the_backbone_of_a_composite_gives_every_map(architecture, tmp_path):
    """Also those that the composite was not trained with, from the very same weights."""
    folder = tiny.folder(architecture)
    backbone = sensorium.AutoBackbone.from_pretrained(folder)
    processor = sensorium.ImageProcessor.from_pretrained(folder)
    sensorium.build_head(backbone, ["a", "b"]).save_pretrained(tmp_path, processor)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "config.json").stat().st_mode
    with ours(tmp_path) as composite, ours(folder) as whole:
        names = whole.model.out_features
        assert composite.model.out_features == names
        got, want = (pipe(make_image(), pool="pooled", feature_maps=names) for pipe in (composite, whole))
    np.testing.assert_allclose(got.vector, want.vector, atol=1e-6)
    for a, b in zip(got.feature_maps, want.feature_maps, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_loaded_backbone():
    folder = tiny.folder("convnext")
    backbone = sensorium.AutoBackbone.from_pretrained(folder, out_indices=(0, 1))
    with sensorium.pipeline(model=backbone, processor=folder, device="cpu") as pipe:
        assert pipe.task.name == "image-feature-extraction"
        result = pipe(make_image(), pool="pooled", feature_maps=(0,))
    with ours(folder) as pipe:
        np.testing.assert_allclose(result.vector, pipe(make_image(), pool="pooled").vector, atol=1e-6)
    with pytest.raises(TaskMismatchError, match="It fits: image-feature-extraction"):
        sensorium.pipeline("image-classification", backbone, processor=folder)
    with pytest.raises(TaskMismatchError):
        sensorium.pipeline("image-feature-extraction", torch.nn.Linear(2, 2), processor=folder)


CONTRACT = Contract(
    build=lambda **settings: ours(tiny.folder("dinov2"), **settings),
    inputs=make_images,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture"],
    options=[{"pool": "mean", "normalize": True}, {"pool": "cls"}, {"pool": "pooled", "feature_maps": (0,)}],
)
