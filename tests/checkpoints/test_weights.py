"""Which files are weights, and which are refused."""

from __future__ import annotations

import json
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.checkpoints import LoadOptions, resolve
from sensorium.errors import (
    CheckpointError,
    MissingWeightsError,
    UnsafeCheckpointError,
)

from .folders import SHARDED_FILES, SHARDS, VIT_FILES


def test_pickled_weights_are_refused_unless_asked_for(place):
    files = {"config.json": "{}", "pytorch_model.bin": b"pickle"}
    name = place(files)
    with pytest.raises(
        UnsafeCheckpointError, match=r"model\.safetensors.*only pickled.*pytorch_model\.bin.*Convert"
    ) as e:
        resolve(name).weights()
    assert "use_safetensors=False" in str(e.value)
    (path,) = resolve(name, LoadOptions(use_safetensors=False)).weights()
    assert (path.name, path.read_bytes()) == ("pytorch_model.bin", b"pickle")
    with pytest.raises(UnsafeCheckpointError):  # though the file is here now
        resolve(name).weights()


def test_refused_pickles_are_not_downloaded(hub, here):
    hub.add("org/tiny", {"config.json": "{}", "pytorch_model.bin": b"pickle"})
    with pytest.raises(UnsafeCheckpointError):
        resolve("org/tiny").weights()
    assert hub.downloads() == ["config.json"]


def test_cached_pickles_are_refused_offline_too(hub, here, offline):
    hub.add("org/tiny", {"config.json": "{}", "pytorch_model.bin": b"pickle"})
    resolve("org/tiny", LoadOptions(use_safetensors=False)).weights()
    offline()
    with pytest.raises(UnsafeCheckpointError):
        resolve("org/tiny").weights()
    assert resolve("org/tiny", LoadOptions(use_safetensors=False)).weights()


def test_pickled_shards_are_found_if_asked_for(place):
    index = json.dumps({"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}})
    files = {"pytorch_model.bin.index.json": index, "pytorch_model-1.bin": b"1", "pytorch_model-2.bin": b"2"}
    found = resolve(place({"config.json": "{}", **files}), LoadOptions(use_safetensors=False))
    assert [path.read_bytes() for path in found.weights()] == [b"1", b"2"]


def test_safetensors_are_preferred_where_pickles_are_allowed(place):
    name = place(VIT_FILES | {"pytorch_model.bin": b"pickle"})
    (path,) = resolve(name, LoadOptions(use_safetensors=False)).weights()
    assert path.name == "model.safetensors"


def test_a_composite_never_has_pickled_weights(place):
    name = place({"config.json": '{"sensorium": {}}', "pytorch_model.bin": b"pickle"})
    with pytest.raises(MissingWeightsError, match=r"expected model\.safetensors"):
        resolve(name, LoadOptions(use_safetensors=False)).weights()


@pytest.mark.parametrize("others", [[], ["tf_model.h5", "model.onnx"]])
def test_missing_weights_say_what_is_there(place, others):
    name = place({"config.json": "{}", **dict.fromkeys(others, b"x")})
    found = "no weight file" if not others else "only model.onnx, tf_model.h5"
    with pytest.raises(
        MissingWeightsError, match=rf"expected model\.safetensors.*got {found}.*random weights are never"
    ):
        resolve(name).weights()


def test_a_missing_shard_is_named(place):
    files = {name: data for name, data in SHARDED_FILES.items() if name != SHARDS[1]}
    with pytest.raises(MissingWeightsError, match=f"lists 2 weight files, and 1 of them .*{SHARDS[1]}"):
        resolve(place(files)).weights()


ESCAPES = [
    "../model.safetensors",
    "/etc/model.safetensors",
    "sub/model.safetensors",
    "..\\model.safetensors",
    "C:model.safetensors",
    ".model.safetensors",
    "https://example.org/model.safetensors",
    "model.safetensors\n",
    "pytorch_model.bin",
    "config.json",
    "",
    3,
    None,
    ["model.safetensors"],
]


@pytest.mark.parametrize("shard", ESCAPES, ids=repr)
def test_an_index_that_names_anything_but_files_beside_it_is_refused(hub, place, here, shard):
    (here / "model.safetensors").write_bytes(b"outside")
    index = json.dumps({"weight_map": {"a": SHARDS[0], "b": shard}})
    files = {"config.json": "{}", "model.safetensors.index.json": index, SHARDS[0]: b"x", "pytorch_model.bin": b"x"}
    with pytest.raises(CheckpointError, match=r"should list \*\.safetensors files that lie beside it") as caught:
        resolve(place(files)).weights()
    assert not isinstance(caught.value, MissingWeightsError)
    assert not {SHARDS[0], "pytorch_model.bin"} & set(hub.downloads())


@given(shard=st.text(max_size=40) | st.text("./\\:~ab", max_size=12).map(lambda text: f"{text}.safetensors"))
def test_no_index_can_name_a_path(shard):
    from sensorium.checkpoints.weights import _is_plain

    if _is_plain(shard, ".safetensors"):
        assert PurePosixPath(shard).name == PureWindowsPath(shard).name == shard
        assert not set(shard) & set("/\\:~\0\n")
        assert shard not in (".", "..")


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": ["model.safetensors"]}'])
def test_a_broken_index_is_told(place, index):
    name = place({"config.json": "{}", "model.safetensors.index.json": index})
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json should"):
        resolve(name).weights()


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "is empty"), (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull")]
)
def test_a_file_that_holds_no_weights_is_told(place, data, says):
    with pytest.raises(MissingWeightsError, match=says):
        resolve(place(VIT_FILES | {"model.safetensors": data})).weights()


def test_timm_checkpoints_may_bring_the_weights_of_open_clip(place):
    files = {"config.json": '{"architecture": "vit_base", "pretrained_cfg": {}}', "open_clip_model.safetensors": b"x"}
    (path,) = resolve(place(files)).weights()
    assert path.name == "open_clip_model.safetensors"


def test_the_config_may_name_the_weights(place):
    config = {"model_type": "vit", "transformers_weights": "model.bf16.safetensors"}
    files = {"config.json": json.dumps(config), "model.bf16.safetensors": b"bf16", "model.safetensors": b"f32"}
    assert [path.read_bytes() for path in resolve(place(files)).weights()] == [b"bf16"]


@pytest.mark.parametrize("named", ["../model.safetensors", "pytorch_model.bin", 3])
def test_the_config_may_not_name_weights_elsewhere(place, named):
    files = VIT_FILES | {"config.json": json.dumps({"model_type": "vit", "transformers_weights": named})}
    with pytest.raises(CheckpointError, match=r"transformers_weights in config\.json should name a safetensors file"):
        resolve(place(files), LoadOptions(use_safetensors=False)).weights()
