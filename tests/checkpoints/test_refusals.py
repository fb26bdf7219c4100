"""What a person is told when the Hub refuses, lacks something, or breaks off."""

from __future__ import annotations

import os
import types

import pytest

from sensorium.checkpoints import LoadOptions, resolve
from sensorium.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    DownloadError,
)

from .folders import VIT, VIT_FILES, python, write


def test_a_missing_repository_says_what_to_do(hub, here):
    hub.add("org/tiny-vit", VIT_FILES)
    resolve("org/tiny-vit")
    with pytest.raises(CheckpointNotFoundError) as caught:
        resolve("org/tiny-vti")
    text = str(caught.value)
    for part in ("'org/tiny-vti'", hub.url, "Did you mean 'org/tiny-vit'?", "private", "hf auth login", "starter/"):
        assert part in text
    assert type(caught.value.__cause__).__name__ == "RepositoryNotFoundError"
    assert isinstance(caught.value, FileNotFoundError)


def test_a_local_folder_that_looks_alike_is_named(hub, here):
    write(here / "org" / "tiny-vit", VIT_FILES)
    with pytest.raises(CheckpointNotFoundError, match="Did you mean 'org/tiny-vit'"):
        resolve("org/tiny-vti")


def test_a_timm_name_without_its_tag_says_that_it_needs_one(hub, here):
    with pytest.raises(CheckpointNotFoundError, match="tag"):
        resolve("timm/resnet50")


@pytest.mark.parametrize("revision", ["v9", "0" * 40, "refs/pr/7"])
def test_a_missing_revision_is_named(hub, here, revision):
    hub.add("org/tiny", VIT_FILES)
    with pytest.raises(CheckpointNotFoundError, match=f"'org/tiny' has no revision '{revision}'") as caught:
        resolve(f"org/tiny@{revision}")
    assert type(caught.value.__cause__).__name__ == "RevisionNotFoundError"


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_opensNothing", 403)])
def test_a_gated_repository_says_how_to_get_in(hub, here, token, status):
    hub.add("org/tiny", VIT_FILES, gated=True)
    with pytest.raises(DownloadError) as caught:
        resolve("org/tiny", LoadOptions(token=token))
    text = str(caught.value)
    for part in ("'org/tiny' is gated", str(status), f"{hub.url}/org/tiny", "hf auth login", "token=", "starter/"):
        assert part in text
    assert type(caught.value.__cause__).__name__ == "GatedRepoError"


@pytest.mark.parametrize("closed", ["gated", "private"])
def test_a_token_opens_and_goes_to_the_hub_only(hub, here, closed):
    hub.add("org/tiny", VIT_FILES, gated=closed == "gated", private=closed == "private")
    found = resolve("org/tiny", LoadOptions(token=hub.token))
    assert [path.read_bytes() for path in found.weights()] == [b"weights"]
    sent = {one.path.startswith("/lfs/"): one.token for one in hub.requests}
    assert sent == {False: hub.token, True: None}


def test_a_token_in_the_environment_is_used(hub, here, monkeypatch):
    hub.add("org/tiny", VIT_FILES, private=True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with pytest.raises(CheckpointNotFoundError, match="or it is private"):
        resolve("org/tiny", LoadOptions(token=False))
    assert resolve("org/tiny").config == VIT


@pytest.mark.parametrize(("token", "status"), [("hf_expired", "401"), (True, "LocalTokenNotFoundError")])
def test_a_bad_token_is_told_from_a_missing_repository(hub, here, token, status):
    hub.add("org/tiny", VIT_FILES)
    with pytest.raises(DownloadError, match=rf"refused 'org/tiny' \({status}.*token.*hf auth login"):
        resolve("org/tiny", LoadOptions(token=token))


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_hub_in_trouble_says_how_to_go_on(hub, here, status):
    hub.failing = status
    with pytest.raises(DownloadError) as caught:
        resolve("org/tiny")
    for part in ("'org/tiny'", str(status), "starter/", "local folder"):
        assert part in str(caught.value)


def test_a_cached_branch_is_used_while_the_hub_is_in_trouble(hub, here):
    sha = hub.add("org/tiny", VIT_FILES)
    resolve("org/tiny").weights()
    hub.failing = 503
    found = resolve("org/tiny")
    assert (found.revision, [path.read_bytes() for path in found.weights()]) == (sha, [b"weights"])


def test_a_hub_that_cannot_be_reached_says_how_to_go_on(here):
    script = """
from sensorium.checkpoints import resolve
from sensorium.errors import DownloadError
try:
    resolve("org/tiny")
except DownloadError as error:
    print(error)
"""
    result = python(script, HF_ENDPOINT="http://127.0.0.1:9")  # the discard port: nobody listens
    for part in ("'org/tiny'", "127.0.0.1:9", "ConnectError", "HF_ENDPOINT", "HF_HUB_OFFLINE=1", "starter/"):
        assert part in result.stdout, result.stderr


def test_a_broken_download_is_resumed_where_it_broke(hub, here):
    from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE

    data = os.urandom(1 << 20) * 24
    hub.add("org/tiny", VIT_FILES | {"model.safetensors": data})
    found = resolve("org/tiny")
    hub.cut_once("model.safetensors", after=DOWNLOAD_CHUNK_SIZE + 1000)
    assert found.weights()[0].read_bytes() == data
    asked = [(one.status, one.range) for one in hub.requests if one.path.startswith("/lfs/")]
    assert asked == [(200, None), (206, f"bytes={DOWNLOAD_CHUNK_SIZE}-")]


def test_a_download_that_keeps_breaking_is_an_error_and_leaves_no_half_file(hub, here, monkeypatch):
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download, "time", types.SimpleNamespace(sleep=lambda _: None))  # its pause, 1 s a try
    hub.add("org/tiny", VIT_FILES | {"model.safetensors": b"x" * 10_000})
    found = resolve("org/tiny")
    hub.cut_always("model.safetensors", after=10)
    with pytest.raises(DownloadError, match=r"could not download 'org/tiny'.*try again") as caught:
        found.weights()
    assert caught.value.__cause__ is not None
    hub.cuts.clear()
    assert found.weights()[0].read_bytes() == b"x" * 10_000


def test_a_disk_that_cannot_be_written_is_told(hub, here, tmp_path):
    hub.add("org/tiny", VIT_FILES)
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"could not download 'org/tiny'.*file"):
        resolve("org/tiny", LoadOptions(cache_dir=str(tmp_path / "file" / "cache")))


def test_a_repository_without_a_config_is_told(hub, here):
    hub.add("org/tiny", {"README.md": "", "adapter_config.json": "{}"})
    with pytest.raises(CheckpointNotFoundError, match=r"expected config\.json in the repository 'org/tiny' at main"):
        resolve("org/tiny")


def test_a_broken_config_on_the_hub_is_told(hub, here):
    hub.add("org/tiny", {"config.json": "<html>"})
    with pytest.raises(CheckpointError, match=r"'org/tiny': config\.json should be JSON"):
        resolve("org/tiny")
