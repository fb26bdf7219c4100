"""What `job.json` says: what a job does, and what it turned out to be made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sensorium.errors import JobError, OptionError
from sensorium.jobs.stores import Folder, open_store
from sensorium.jobs.stores.store import LOCK, is_passing

NAME = "job.json"
FORMAT = 1

PASSAGES = "passages"
"""What a job of encoding passages is called, where others have the name of a task."""

ASKED = ("task", "model", "settings", "options", "inputs", "shard_size", "cwd")
"""What the user says of a job; the same call must say the same."""

FOUND = ("checkpoint", "revision", "dtype", "result", "columns")
"""What the first worker finds, and each later one must find again."""


_TYPES: dict[str, Any] = {
    "task": str, "model": str | None, "settings": dict, "options": dict, "inputs": dict, "shard_size": int,
    "cwd": str | None, "listing": str | None, "refreshed": list | None,
}  # fmt: skip
"""What is looked at before it is used, so that a damaged file is told as one."""


def digest_of(description: Mapping[str, Any]) -> str:
    """What tells a job from every other: what was asked, and the inputs that were listed."""
    asked = {name: description[name] for name in (*ASKED, "listing")}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def read_description(folder: Folder) -> dict[str, Any] | None:
    """What a folder says of its job; None if there is none.

    Raises:
        JobError: it is not as it was written, or another version has written it.
        OSError: the folder cannot be read.
    """
    store = open_store(folder)
    path = store.where(NAME)
    try:
        content = json.loads(store.read(NAME))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path} cannot be read: {error}. Put it back, or start the job in another folder") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not set(ASKED) <= content.keys():
        raise JobError(f"{path} is not of a job of this version of Sensorium; start the job in another folder")
    fits = all(isinstance(content.get(entry), kinds) for entry, kinds in _TYPES.items())
    if not fits or not all(isinstance(each, dict) for each in content.get("refreshed") or ()):
        raise JobError(
            f"{path} cannot be used: it has entries of other types than a job's ({', '.join(_TYPES)}). Put it back, or "
            "start the job in another folder"
        )
    return content


def write_description(folder: Folder, content: Mapping[str, Any]) -> None:
    """Replaces `job.json`, whole or not at all."""
    text = json.dumps({"format": FORMAT, **content}, indent=1) + "\n"
    open_store(folder).write(NAME, text.encode())


def check_folder(folder: Folder) -> None:
    """Refuses a folder that holds something else.

    Raises:
        JobError: it is a file, or has files and no job.
    """
    store = open_store(folder)
    if store.is_file():
        raise JobError(f"out is a folder for the job, got the file {store}")
    names = store.names()
    others = [name for name in names if not name.startswith(LOCK) and not is_passing(name)]
    if NAME not in names and others:
        raise JobError(f"{store} holds other files ({', '.join(others[:3])}); expected a new folder, or that of a job")


def check_same(known: Mapping[str, Any], now: Mapping[str, Any], names: tuple[str, ...], folder: Folder) -> None:
    """Refuses to go on with something other than before.

    Raises:
        OptionError: what was asked or found differs; names each difference.
    """
    differences = [
        f"{name}: {was!r} before, {new!r} now" for name in names for name, was, new in _differing(name, known, now)
    ]
    if differences:
        raise OptionError(
            f"{folder} holds the rows of another job ({'; '.join(differences)}). Use what it was begun with, or "
            "another folder (out=…, --out)"
        )


def _differing(name: str, known: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    was, new = known.get(name), now.get(name)
    if isinstance(was, Mapping) and isinstance(new, Mapping):
        inner = [_differing(key, was, new) for key in sorted({*was, *new})]
        return [(f"{name}.{key}", before, after) for found in inner for key, before, after in found]
    return [] if was == new else [(name, was, new)]
