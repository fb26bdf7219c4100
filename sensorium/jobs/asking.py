"""What is asked of a job, checked, and in words that can be written down."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.errors import OptionError, UnknownNameError
from sensorium.jobs.inputs import Inputs
from sensorium.pipelines.settings import several_of
from sensorium.processors.limits import MediaLimits
from sensorium.tasks.catalogue import task_card

SETTINGS = (
    "index",
    "processor",
    "device",
    "dtype",
    "compile",
    "batch_size",
    "num_workers",
    "decode",
    "limits",
    "revision",
    "cache_dir",
    "local_files_only",
    "use_safetensors",
    "trust_remote_code",
    "attn_implementation",
)
"""Arguments of `pipeline()` that a job takes: those that can be written down."""

FOLDERS = ("index", "processor", "cache_dir")
"""Those of them that may be folders."""


def check_asked(task: str, settings: Mapping[str, Any], options: Mapping[str, Any], shard_size: Any) -> None:
    """Refuses what no job can do, before anything is read.

    Raises:
        UnknownNameError: no such task, option or setting; names the nearest one.
        OptionError: an invalid value.
    """
    for name in settings:
        if name not in SETTINGS:
            raise UnknownNameError("setting of a job", name, SETTINGS)
    card = task_card(task)
    for name in options:
        if name not in {option.name for option in card.options}:
            raise UnknownNameError(f"option of {task}", name, [option.name for option in card.options])
    if isinstance(shard_size, bool) or not isinstance(shard_size, int) or shard_size < 1:
        raise OptionError(f"shard_size is a whole number from 1, got {shard_size!r}")
    if several_of(settings.get("device")) is not None or settings.get("device") == "all":
        raise OptionError(
            f"device={settings['device']!r} is for one process, and a job's workers are processes, by default one "
            "for each CUDA device: leave device out. CUDA_VISIBLE_DEVICES leaves cards out"
        )


def described(
    task: str,
    model: str | os.PathLike[str] | None,
    inputs: Inputs,
    *,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    shard_size: int,
) -> dict[str, Any]:
    """What is asked, as `job.json` has it."""
    asked = {
        "task": task,
        "model": None if model is None else _settled(model),
        "settings": {
            name: _settled(value) if name in FOLDERS else plain_setting(name, value)
            for name, value in settings.items()
            if value is not None
        },
        "options": {name: plain_setting(name, value) for name, value in options.items()},
        "inputs": inputs.described(),
        "shard_size": shard_size,
        "cwd": str(Path.cwd()) if inputs.depend_on_folder(task_card(task).inputs[0]) else None,
    }
    plain: dict[str, Any] = json.loads(json.dumps(asked))  # as it is read again
    return plain


def plain_setting(name: str, value: Any) -> Any:
    """A setting as JSON has it.

    Raises:
        OptionError: it cannot be written down.
    """
    if isinstance(value, MediaLimits):
        return dataclasses.asdict(value)
    if isinstance(value, os.PathLike):
        return str(Path(value).absolute())
    if isinstance(value, (list, tuple)):
        return [plain_setting(name, each) for each in value]
    if type(value).__module__ == "torch":  # a dtype or a device
        return str(value).removeprefix("torch.")
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise OptionError(f"a job is written down, and {name}={value!r:.100} cannot be; give names, numbers and folders")


def _settled(model: str | os.PathLike[str]) -> str:
    """A name; a folder's is made absolute.

    Raises:
        OptionError: something that was loaded, which cannot be written down.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise OptionError(f"a job is written down, and takes names and folders, got a loaded {type(model).__name__}")
    name = os.fspath(model)
    folder = Path(name).expanduser()
    return str(folder.absolute()) if folder.is_dir() else name
