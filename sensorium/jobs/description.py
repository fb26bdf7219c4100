"""What `job.json` says: what a job does, and what it turned out to be made with."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.checkpoints.writing import sync
from sensorium.errors import JobError, OptionError

NAME = "job.json"
LOCK = "job.lock"
FORMAT = 1

ASKED = ("task", "model", "settings", "options", "inputs", "shard_size", "cwd")
"""What the user says of a job; the same call must say the same."""

FOUND = ("checkpoint", "revision", "dtype", "result", "columns")
"""What the first worker finds, and each later one must find again."""


_PASSING = re.compile(r"(job\.json|inputs\.parquet)\.[0-9a-f]{8}\.part")


def is_passing(name: str) -> bool:
    """Whether a file is one of a job's own that was not finished."""
    return _PASSING.fullmatch(name) is not None


def digest_of(description: Mapping[str, Any]) -> str:
    """What tells a job from every other: what was asked, and the inputs that were listed."""
    asked = {name: description[name] for name in (*ASKED, "listing")}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def read_description(folder: Path) -> dict[str, Any] | None:
    """What a folder says of its job; None if there is none.

    Raises:
        JobError: it cannot be read, or another version has written it.
    """
    path = folder / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise JobError(f"{path} cannot be read: {error}. Put it back, or start the job in another folder") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not set(ASKED) <= content.keys():
        raise JobError(f"{path} is not of a job of this version of Sensorium; start the job in another folder")
    return content


def write_description(folder: Path, content: Mapping[str, Any]) -> None:
    """Replaces `job.json`, whole or not at all."""
    part = folder / f"{NAME}.{secrets.token_hex(4)}.part"
    try:
        part.write_text(json.dumps({"format": FORMAT, **content}, indent=1) + "\n", encoding="utf-8")
        sync(part)
        os.replace(part, folder / NAME)  # noqa: PTH105
        sync(folder)
    finally:
        part.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Refuses a folder that holds something else.

    Raises:
        JobError: it is a file, or has files and no job.
    """
    if folder.exists() and not folder.is_dir():
        raise JobError(f"out is a folder for the job, got the file {folder}")
    if folder.is_dir() and not (folder / NAME).exists():
        others = sorted(path.name for path in folder.iterdir() if path.name != LOCK and not is_passing(path.name))
        if others:
            raise JobError(
                f"{folder} holds other files ({', '.join(others[:3])}); expected a new folder, or that of a job"
            )


def check_same(known: Mapping[str, Any], now: Mapping[str, Any], names: tuple[str, ...], folder: Path) -> None:
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
