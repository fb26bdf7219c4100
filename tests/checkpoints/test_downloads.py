"""What is asked of the Hub, and what is not, online and offline."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from sensorium.checkpoints import LoadOptions, resolve
from sensorium.errors import (
    DownloadError,
)

from .folders import SHARDED_FILES, SHARDS, VIT, VIT_FILES, python

CONFIGURATION = {
    "config.json": json.dumps(VIT),
    "preprocessor_config.json": "{}",
    "generation_config.json": "{}",
    "tokenizer.json": "{}",
    "vocab.json": "{}",
    "merges.txt": "",
    "spiece.model": b"\0",
    "chat_template.jinja": "",
}
CLUTTER = {
    "README.md": "",
    ".gitattributes": "",
    "modeling_tiny.py": "raise SystemExit('ran')",
    "pytorch_model.bin": b"pickle",
    "pytorch_model.bin.index.json": "{}",
    "model.fp16.safetensors": b"half",
    "tf_model.h5": b"h5",
    "flax_model.msgpack": b"flax",
    "model.onnx": b"onnx",
    "onnx/model.onnx": b"onnx",
    "onnx/config.json": "{}",
    "other/model.safetensors": b"other",
    "other/code.py": "",
    "trainer_state.json": "{}",
    "training_args.bin": b"pickle",
    "eval_results.json": "{}",
    "cat.jpg": b"jpeg",
    "requirements.txt": "",
    "LICENSE.txt": "",
}


def test_exactly_the_needed_files_are_downloaded(hub, here):
    hub.add("org/tiny", {**CONFIGURATION, **CLUTTER, "model.safetensors": b"weights"})
    found = resolve("org/tiny")
    assert hub.downloads() == sorted(CONFIGURATION)
    assert [path.read_bytes() for path in found.weights()] == [b"weights"]
    assert hub.downloads() == sorted([*CONFIGURATION, "model.safetensors"])
    files = {path.name for path in found.folder.rglob("*")}
    assert files == {*CONFIGURATION, "model.safetensors"}
    assert all(one.user_agent.startswith("sensorium/") for one in hub.requests)


def test_python_files_are_downloaded_only_if_remote_code_is_trusted(hub, here):
    hub.add("org/tiny", {**CONFIGURATION, **CLUTTER})
    resolve("org/tiny")
    assert "modeling_tiny.py" not in hub.downloads()
    found = resolve("org/tiny", LoadOptions(trust_remote_code=True))
    assert hub.downloads() == sorted([*CONFIGURATION, "modeling_tiny.py"])
    assert (found.folder / "modeling_tiny.py").is_file()


def test_shards_are_downloaded_by_their_index(hub, here):
    hub.add("org/tiny", {**SHARDED_FILES, **CLUTTER, "model-00003-of-00003.safetensors": b"of another save"})
    found = resolve("org/tiny")
    assert [path.name for path in found.weights()] == list(SHARDS)
    assert hub.downloads() == sorted(SHARDED_FILES)


def test_a_single_file_goes_before_shards(hub, here):
    hub.add("org/tiny", {**SHARDED_FILES, "model.safetensors": b"whole"})
    assert [path.read_bytes() for path in resolve("org/tiny").weights()] == [b"whole"]
    assert not set(SHARDS) & set(hub.downloads())


def test_weights_are_downloaded_once(hub, here):
    hub.add("org/tiny", SHARDED_FILES)
    found = resolve("org/tiny")
    first = found.weights()
    hub.requests.clear()
    assert found.weights() == first
    assert hub.requests == []


def test_weights_come_from_the_commit_of_the_config_though_main_moves_on(hub, here):
    hub.add("org/tiny", VIT_FILES)
    found = resolve("org/tiny")
    newer = hub.add("org/tiny", VIT_FILES | {"model.safetensors": b"newer"})
    assert [path.read_bytes() for path in found.weights()] == [b"weights"]
    again = resolve("org/tiny")
    assert again.revision == newer
    assert [path.read_bytes() for path in again.weights()] == [b"newer"]


def test_several_threads_may_ask_for_one_checkpoint(hub, here):
    hub.add("org/tiny", SHARDED_FILES)
    with ThreadPoolExecutor(8) as pool:
        all_paths = list(pool.map(lambda _: resolve("org/tiny").weights(), range(8)))
    assert all([path.read_bytes() for path in paths] == [b"first", b"second"] for paths in all_paths)


def test_cache_dir_is_where_the_files_go(hub, here, tmp_path):
    hub.add("org/tiny", VIT_FILES)
    found = resolve("org/tiny", LoadOptions(cache_dir=str(tmp_path / "mine")))
    assert found.weights()[0].is_relative_to(tmp_path / "mine")
    assert not (tmp_path / "hub-cache").exists()


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "local_files_only"])
@pytest.mark.parametrize("named", ["commit", "branch"])
def test_a_cached_checkpoint_needs_no_request_offline(hub, here, offline, how, named):
    sha = hub.add("org/tiny", {**SHARDED_FILES, **CLUTTER})
    name = f"org/tiny@{sha}" if named == "commit" else "org/tiny"
    resolve(name).weights()
    hub.requests.clear()
    if how == "HF_HUB_OFFLINE":
        offline()
    found = resolve(name, LoadOptions(local_files_only=how == "local_files_only"))
    assert [path.read_bytes() for path in found.weights()] == [b"first", b"second"]
    assert found.revision == sha
    assert hub.requests == []


def test_a_pinned_commit_in_the_cache_needs_no_request_online_either(hub, here):
    sha = hub.add("org/tiny", VIT_FILES)
    resolve(f"org/tiny@{sha}").weights()
    hub.requests.clear()
    resolve(f"org/tiny@{sha}").weights()
    assert hub.requests == []


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE=1", "local_files_only=True"])
def test_what_is_not_cached_says_so_offline(hub, here, offline, how):
    hub.add("org/tiny", VIT_FILES)
    options = LoadOptions(local_files_only=how.startswith("local"))
    if how.startswith("HF"):
        resolve("org/tiny")
        offline()
    else:
        resolve("org/tiny")
    hub.requests.clear()
    with pytest.raises(DownloadError, match=rf"'org/tinny' is not wholly.*{how} forbids.*'org/tiny'.*starter/"):
        resolve("org/tinny", options)
    with pytest.raises(DownloadError, match=rf"'org/tiny' is not wholly in the cache.*{how}") as caught:
        resolve("org/tiny", options).weights()
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(DownloadError, match="not wholly"):
        resolve(f"org/tiny@{'0' * 40}", options)
    assert hub.requests == []


def test_the_environment_is_honoured_by_a_process_of_its_own(hub, here, tmp_path):
    sha = hub.add("org/tiny", VIT_FILES)
    script = f"""
from sensorium.checkpoints import resolve
found = resolve("org/tiny@{sha}")
print(found.weights()[0])
"""
    home = str(tmp_path / "home")
    online = python(script, HF_HOME=home)
    assert online.stdout.startswith(home), online.stderr
    assert hub.downloads() == sorted(VIT_FILES)
    hub.requests.clear()
    without = python(script, HF_HOME=home, HF_HUB_OFFLINE="1")
    assert without.stdout == online.stdout, without.stderr
    assert hub.requests == []


def test_transformers_loads_what_was_found_without_a_request_of_its_own(hub, here, tmp_path):
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32)
    torch.manual_seed(0)
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "saved", max_shard_size="20KB")
    sha = hub.add("org/tiny-vit", tmp_path / "saved")
    found = resolve(f"org/tiny-vit@{sha}")
    assert len(found.weights()) > 1  # sharded
    hub.requests.clear()
    loaded = ViTForImageClassification.from_pretrained(found.folder, use_safetensors=True).eval()
    assert hub.requests == []
    pixels = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(loaded(pixels).logits, model(pixels).logits)
