"""pipeline(): names, the Hub, tasks found from configs, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import timm
import torch
import transformers

import sensorium
from sensorium.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    DownloadError,
    MissingWeightsError,
    OptionError,
    TaskMismatchError,
    UnknownNameError,
    UnsafeCheckpointError,
)
from tests import tiny, tiny_sam, tiny_text
from tests.contract import assert_close
from tests.media import jpeg, make_image

CPU = {"device": "cpu", "dtype": "float32", "compile": False}


@pytest.fixture
def vit(tmp_path):
    """A copy of a tiny ViT's folder that a test may damage."""
    return shutil.copytree(tiny.folder("vit"), tmp_path / "vit")


def edit(folder, **entries):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in {**config, **entries}.items() if v is not None}))


def test_from_the_hub_pinned_then_offline_without_a_request(hub, monkeypatch):
    sha = hub.add("org/tiny-vit", tiny.folder("vit"))
    with sensorium.pipeline("image-classification", f"org/tiny-vit@{sha}", **CPU) as pipe:
        online = pipe(make_image())
    assert set(hub.downloads()) == {"config.json", "model.safetensors", "preprocessor_config.json"}
    with sensorium.pipeline("image-classification", tiny.folder("vit"), **CPU) as pipe:
        assert_close(pipe(make_image()).to_dict(), online.to_dict())
    before = len(hub.requests)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with sensorium.pipeline(model=f"org/tiny-vit@{sha}", **CPU) as pipe:
        assert pipe.task.name == "image-classification"
        assert_close(pipe(make_image()).to_dict(), online.to_dict())
    assert len(hub.requests) == before


def test_a_broken_download_goes_on_where_it_stopped(hub):
    hub.add("org/tiny-vit", tiny.folder("vit"))
    hub.cut_once("model.safetensors", after=2000)
    with sensorium.pipeline(model="org/tiny-vit", **CPU) as pipe:
        assert len(pipe(make_image())) == 5


def test_gated_missing_and_unreachable(hub):
    hub.add("org/gated", tiny.folder("vit"), gated=True)
    with pytest.raises(DownloadError, match="gated"):
        sensorium.pipeline(model="org/gated")
    with pytest.raises(CheckpointNotFoundError, match="no repository"):
        sensorium.pipeline("image-classification", "org/nothing")
    hub.failing = 503
    with pytest.raises(DownloadError, match="starter/"):
        sensorium.pipeline("image-classification", "org/other")


def test_the_default_model_is_asked_for_at_its_revision(hub):
    with pytest.raises(CheckpointNotFoundError, match="google/vit-base-patch16-224"):
        sensorium.pipeline("image-classification")
    assert "3f49326" in " ".join(r.path for r in hub.requests)


@pytest.mark.parametrize("task", ["image-classification", "image-feature-extraction"])
def test_a_folder_without_weights(vit, task):
    (vit / "model.safetensors").unlink()
    with pytest.raises(MissingWeightsError):
        sensorium.pipeline(task, vit)


def test_weights_that_lack_the_head_are_never_made_up(vit):
    shutil.copy(tiny.folder("vit", bare=True) / "model.safetensors", vit / "model.safetensors")
    with pytest.raises(MissingWeightsError, match=r"classifier\.(bias|weight)"):
        sensorium.pipeline("image-classification", vit)


def test_pickled_weights_only_if_asked_for(vit):
    model = transformers.AutoModelForImageClassification.from_pretrained(vit)
    torch.save(model.state_dict(), vit / "pytorch_model.bin")
    with sensorium.pipeline(model=vit, **CPU) as pipe:
        expected = pipe(make_image())
    (vit / "model.safetensors").unlink()
    with pytest.raises(UnsafeCheckpointError, match="use_safetensors=False"):
        sensorium.pipeline("image-classification", vit)
    with sensorium.pipeline(model=vit, use_safetensors=False, **CPU) as pipe:
        assert_close(pipe(make_image()).to_dict(), expected.to_dict())


def test_code_in_a_checkpoint_never_runs_unasked(vit, tmp_path):
    canary = tmp_path / "canary"
    (vit / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w').close()\nclass Evil: ...\n")
    code = {"AutoConfig": "modeling_evil.Evil", "AutoModelForImageClassification": "modeling_evil.Evil"}
    edit(vit, auto_map=code)
    with sensorium.pipeline("image-classification", vit, **CPU) as pipe:
        pipe(make_image())
    edit(vit, auto_map=code, model_type="evil", architectures=["Evil"])
    with pytest.raises((UnsafeCheckpointError, TaskMismatchError, CheckpointError)):
        sensorium.pipeline("image-classification", vit)
    with pytest.raises((UnsafeCheckpointError, TaskMismatchError, CheckpointError)):
        sensorium.pipeline("image-feature-extraction", vit)
    edit(vit, auto_map=code, trust_remote_code=True)
    with pytest.raises((UnsafeCheckpointError, TaskMismatchError, CheckpointError)):
        sensorium.pipeline(model=vit)
    assert not canary.exists()


def test_unknown_task_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'image-classification'"):
        sensorium.pipeline("image-clasification", tiny.folder("vit"))


def test_option_typo_of_the_factory_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'devise'. Did you mean 'device'"):
        sensorium.pipeline("image-classification", tiny.folder("vit"), devise="cpu")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"device": "cuda:99"}, "CUDA devices"),
        ({"device": "gpu"}, "device is"),
        ({"dtype": "int7"}, "dtype is"),
        ({"dtype": torch.int32}, "floating-point"),
        ({"compile": "maybe"}, "compile is"),
        ({"batch_size": 0}, "batch_size is"),
        ({"num_workers": -1}, "num_workers is"),
        ({"device": "cpu", "device_map": "auto"}, "both given"),
    ],
)
def test_impossible_settings(settings, match):
    with pytest.raises(OptionError, match=match):
        sensorium.pipeline("image-classification", tiny.folder("vit"), **settings)


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "~/no-such-folder-here"])
def test_a_missing_folder_is_an_error_never_a_download(hub, name):
    with pytest.raises(CheckpointNotFoundError):
        sensorium.pipeline("image-classification", name)
    assert hub.requests == []


def test_neither_task_nor_model():
    with pytest.raises(OptionError, match="name a task"):
        sensorium.pipeline()


def test_a_module_of_nobody_is_refused_with_advice():
    with pytest.raises(TaskMismatchError, match="build_head"):
        sensorium.pipeline("image-classification", torch.nn.Linear(2, 2))


def test_a_checkpoint_of_another_task_says_what_it_fits(tmp_path):
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=32
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    for task in ("image-classification", "image-feature-extraction", None):
        with pytest.raises(TaskMismatchError, match="BertForSequenceClassification"):
            sensorium.pipeline(task, tmp_path)


def test_a_loaded_timm_model_brings_its_recipe():
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=6).eval()
    with sensorium.pipeline(model=model, **CPU) as pipe:
        result = pipe(make_image(), top_k=None)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        expected = model(transform(make_image())[None]).softmax(-1)[0].numpy()
    np.testing.assert_allclose(result.scores, np.sort(expected)[::-1], atol=1e-5)


def test_attn_implementation_reaches_transformers():
    with sensorium.pipeline(model=tiny.folder("vit"), attn_implementation="eager", **CPU) as pipe:
        assert pipe.model.config._attn_implementation == "eager"
        eager = pipe(make_image())
    with sensorium.pipeline(model=tiny.folder("vit"), attn_implementation="sdpa", **CPU) as pipe:
        assert pipe.model.config._attn_implementation == "sdpa"
        np.testing.assert_allclose(pipe(make_image()).scores, eager.scores, atol=1e-6)


def test_a_processor_of_ones_own():
    other = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.1] * 3, image_std=[0.9] * 3)
    folder = tiny.folder("vit")
    reference = transformers.pipeline("image-classification", model=str(folder), image_processor=other, device="cpu")
    with sensorium.pipeline("image-classification", folder, processor=other, **CPU) as pipe:
        for mine, theirs in zip(pipe(make_image()).to_dict(), reference(make_image()), strict=True):
            assert mine["label"] == theirs["label"]
            assert mine["score"] == pytest.approx(theirs["score"], abs=1e-5)


def test_limits_reach_the_decoder(tmp_path):
    (tmp_path / "x.jpg").write_bytes(jpeg(80, 80))
    limits = sensorium.MediaLimits(max_pixels=1000)
    with sensorium.pipeline(model=tiny.folder("vit"), limits=limits, **CPU) as pipe:
        [error] = pipe([tmp_path / "x.jpg"], on_error="return")
    assert isinstance(error, sensorium.LimitError)
    assert error.code == "too-many-pixels"


def test_from_a_hub_dead_url_is_an_error_row():
    limits = sensorium.MediaLimits(timeout_s=250, allow_private_addresses=True)  # refused at once
    with sensorium.pipeline(model=tiny.folder("vit"), limits=limits, **CPU) as pipe:
        got = pipe(["http://127.0.0.1:9/x.jpg", make_image()], on_error="return")
    assert got[0].code == "dead-url"
    assert len(got[1]) == 5


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_a_model_that_does_all_of_a_task_is_found_by_it(name):
    with sensorium.pipeline(model=tiny_sam.folder(name), **CPU) as pipe:
        assert pipe.task.name == "mask-generation"
    with sensorium.pipeline(model=tiny_text.matcher("clip"), **CPU) as pipe:
        assert pipe.task.name == "zero-shot-image-classification"
