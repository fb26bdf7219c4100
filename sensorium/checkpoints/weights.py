"""Which files hold a checkpoint's weights: safetensors first, shards by their index, pickles only if asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from sensorium.checkpoints.config import Kind, read_json
from sensorium.checkpoints.hub import fetch, list_files
from sensorium.checkpoints.options import LoadOptions
from sensorium.errors import CheckpointError, DownloadError, MissingWeightsError, UnsafeCheckpointError

_SAFE = ("model.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_TIMM_SAFE = (*_SAFE, "open_clip_model.safetensors")
_TIMM_PICKLED = (*_PICKLED, "open_clip_pytorch_model.bin")
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf")


class _HasWeights(Protocol):
    """What finding weights needs to know of a checkpoint; `Checkpoint` describes the attributes."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def options(self) -> LoadOptions: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def repo_id(self) -> str | None: ...


def find_weights(checkpoint: _HasWeights) -> list[Path]:
    """The local paths of a checkpoint's weights, downloaded if need be; see `Checkpoint.weights`."""
    names = _complete_here(checkpoint)
    if names is None and checkpoint.repo_id is not None:
        names = _download(checkpoint, checkpoint.repo_id)
    if names is None:
        raise _no_weights(checkpoint, _file_names(checkpoint.folder))
    paths = [checkpoint.folder / name for name in names]
    for path in paths:
        _check_content(checkpoint, path)
    return paths


def _complete_here(checkpoint: _HasWeights) -> list[str] | None:
    """The names of the weight files if the folder holds a whole set of them, else None."""
    local_names = _file_names(checkpoint.folder)
    for name in _candidates(checkpoint):
        if name not in local_names:
            continue
        names = _expand(checkpoint, name)
        absent = [one for one in names if one not in local_names]
        if not absent:
            return names
        if checkpoint.repo_id is None:
            raise MissingWeightsError(
                f"{checkpoint.name!r}: {name} lists {len(names)} weight files, and {len(absent)} of them are not in "
                f"{checkpoint.folder} ({_some(absent)}). Copy them there, or get the checkpoint again."
            )
    return None


def _download(checkpoint: _HasWeights, repo_id: str) -> list[str]:
    try:
        remote_names = list_files(repo_id, checkpoint.revision, checkpoint.options)
    except DownloadError as error:
        local_names = _file_names(checkpoint.folder)
        if local_names.intersection(_TIMM_PICKLED):
            raise _no_weights(checkpoint, local_names) from error
        raise
    name = next((name for name in _candidates(checkpoint) if name in remote_names), None)
    if name is None:
        raise _no_weights(checkpoint, remote_names)
    if name.endswith(".index.json"):
        fetch(repo_id, checkpoint.revision, checkpoint.options, allow=[name])
    names = _expand(checkpoint, name)
    absent = [one for one in names if one not in remote_names]
    if absent:
        raise MissingWeightsError(
            f"{checkpoint.name!r}: {name} lists {len(names)} weight files, and {len(absent)} of them are not in the "
            f"repository ({_some(absent)}). Try another revision, or tell its owner."
        )
    fetch(repo_id, checkpoint.revision, checkpoint.options, allow=names)
    return names


def _candidates(checkpoint: _HasWeights) -> tuple[str, ...]:
    """The file names that weights may have, the preferred first."""
    safe = _TIMM_SAFE if checkpoint.kind == "timm" else _SAFE
    named = checkpoint.config.get("transformers_weights")
    if checkpoint.kind == "transformers" and named is not None:
        if not _is_plain(named, ".safetensors", ".safetensors.index.json"):
            raise CheckpointError(
                f"{checkpoint.name!r}: transformers_weights in config.json should name a safetensors file beside it, "
                f"got {named!r:.100}. Correct or remove that entry."
            )
        safe = (named, *safe)
    if checkpoint.options.use_safetensors or checkpoint.kind == "composite":  # ours were never pickled
        return safe
    return safe + (_TIMM_PICKLED if checkpoint.kind == "timm" else _PICKLED)


def _expand(checkpoint: _HasWeights, name: str) -> list[str]:
    """The weight files that `name` stands for: itself, or what the index of that name lists."""
    if not name.endswith(".index.json"):
        return [name]
    weight_map = read_json(checkpoint.folder / name, of=checkpoint.name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{checkpoint.name!r}: {name} should hold a weight_map from parameters to files, got "
            f"{weight_map!r:.100}. Get the checkpoint again, or save it again."
        )
    suffix = ".safetensors" if ".safetensors" in name else ".bin"
    for shard in weight_map.values():
        if not _is_plain(shard, suffix):
            raise CheckpointError(
                f"{checkpoint.name!r}: {name} should list *{suffix} files that lie beside it, got {shard!r:.100}. "
                f"That file was not opened; use this checkpoint only if you know who made it."
            )
    return sorted(set(weight_map.values()))


def _is_plain(name: object, *suffixes: str) -> bool:
    """Whether this is, on every system, the name of a file in the same folder, with one of the suffixes."""
    plain = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", name) is not None
    return plain and str(name).endswith(suffixes)


def _check_content(checkpoint: _HasWeights, path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(40)
    if start and not start.startswith(b"version https://git-lfs"):
        return
    what = "a Git LFS pointer, not the weights themselves" if start else "empty"
    raise MissingWeightsError(
        f"{checkpoint.name!r}: {path} is {what}. Run `git lfs pull` where it was cloned, or get the file again."
    )


def _no_weights(checkpoint: _HasWeights, names: set[str]) -> CheckpointError:
    """What to raise where none of the candidates is among the names of the files that there are."""
    expected = " or ".join(_candidates(checkpoint))
    pickled = sorted(names.intersection(_TIMM_PICKLED))
    if pickled and checkpoint.options.use_safetensors:
        return UnsafeCheckpointError(
            f"{checkpoint.name!r}: expected {expected}, got only pickled weights ({_some(pickled)}), which can run "
            f"code when they are opened. Convert them once where you trust them (Transformers and timm write "
            f"safetensors when they save), look for a revision with safetensors, or pass use_safetensors=False."
        )
    others = sorted(name for name in names if name.endswith(_WEIGHT_SUFFIXES))
    files = f"only {_some(others)}" if others else "no weight file"
    return MissingWeightsError(
        f"{checkpoint.name!r}: expected {expected}, got {files} in {checkpoint.repo_id or checkpoint.folder}. Save the "
        f"model there with save_pretrained, or name another checkpoint; random weights are never used instead."
    )


def _file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
