"""A folder of files that is replaced as a whole or not at all, and read only if it is exactly as written.

`index.json` names the files with their sizes and SHA-256 digests, and holds its own. Writing puts new files beside the
old ones, makes them durable, and replaces `index.json` in one step: whatever ends the process leaves either the old
content or the new. Files that `index.json` does not name are left over from an interrupted write, and are removed by
the next one before it begins. Processes that write into the same folder wait for each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.checkpoints.writing import alone_in, sync
from sensorium.errors import IndexFileError

NAME = "index.json"
FORMAT = 1
MAX_JSON_BYTES = 16 * 2**20
BLOCK = 16 * 2**20

_GENERATED = re.compile(r"[a-z]+(-[a-z0-9_]+)*-g[0-9a-f]{12}\.[a-z0-9]+")
"""The names that files get here, and no other file is ever removed."""


@dataclass(frozen=True)
class Opened:
    """What a folder held when it was read.

    Attributes:
        folder: the folder.
        digest: of its `index.json`.
    """

    folder: Path
    digest: str

    def is_in(self, folder: Path) -> bool:
        """Whether a folder is this one, by whatever name."""
        return self.folder.exists() and folder.exists() and folder.samefile(self.folder)

    def check(self) -> None:
        """Refuses to go on if the folder holds another index by now.

        Raises:
            IndexFileError: it does.
        """
        path = self.folder / NAME
        current = _checked(path.read_bytes()) if path.exists() else None
        if current is not None and current["digest"] != self.digest:
            raise IndexFileError(
                f"the index in {self.folder} was changed by another process since it was opened, and saving this one "
                "would undo that. Open it again and repeat what was added or deleted, or save to another folder."
            )


def write_folder(
    folder: Path,
    facts: Mapping[str, Any],
    files: Mapping[str, tuple[str, Callable[[Path], None]]],
    *,
    opened: Opened | None = None,
) -> Opened | None:
    """Replaces what a folder holds.

    Args:
        folder: made where it does not exist.
        facts: what `index.json` is to hold besides the files; JSON.
        files: by their keys, a suffix (`".arrow"`) and what writes the file to a given path.
        opened: what is replaced, if it is in that folder; None to replace whatever index there is.

    Returns:
        What was opened; as it is now, if it is in that folder.

    Raises:
        IndexFileError: the folder holds something other than an index, or not the one that was opened.
        OSError: it could not be written to disk; the folder holds what it held before.
    """
    check_target(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        return _replaced(folder, facts, files, opened)


def _replaced(
    folder: Path,
    facts: Mapping[str, Any],
    files: Mapping[str, tuple[str, Callable[[Path], None]]],
    opened: Opened | None,
) -> Opened | None:
    _sweep(folder)
    replaced = opened if opened is not None and opened.is_in(folder) else None
    if replaced is not None:
        replaced.check()
    token = f"g{secrets.token_hex(6)}"
    paths = {key: folder / f"{key}-{token}{suffix}" for key, (suffix, _) in files.items()}
    try:
        listed = {}
        for key, (_, write) in files.items():
            write(paths[key])
            sync(paths[key])
            listed[key] = {"name": paths[key].name, **_measure(paths[key])}
        content = {"format": FORMAT, **facts, "files": listed}
        content["digest"] = _digest_of(content)
        part = folder / f"{NAME}.part"
        part.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        sync(part)
        sync(folder)
        if replaced is not None:
            replaced.check()
        part.replace(folder / NAME)
    except BaseException as error:
        for path in (*paths.values(), folder / f"{NAME}.part"):
            path.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError) and replaced is not None:
            replaced.check()  # another write took the files for left over
        raise
    sync(folder)
    _sweep(folder)
    return opened if replaced is None else Opened(replaced.folder, content["digest"])


def read_folder(folder: Path, *, verify: bool = True) -> tuple[dict[str, Any], dict[str, Path]]:
    """Reads what `write_folder` wrote.

    Args:
        folder: the folder.
        verify: whether to compare the files with their digests, which reads all of them; their sizes always are.

    Returns:
        The facts and the "digest" of them all, and the files' paths by their keys.

    Raises:
        IndexFileError: there is no index, a file is missing, or one is not as it was written.
    """
    content = _read_json(folder)
    paths = {}
    for key, listed in content.pop("files").items():
        path = folder / listed["name"]
        if not _is_there(path):
            named = f"{path.name:.100}, which its {NAME} names"
            raise IndexFileError(f"{folder} lacks {named}. Copy the whole folder again.")
        actual = _measure(path) if verify else {"bytes": path.stat().st_size, "sha256": listed["sha256"]}
        if actual != {"bytes": listed["bytes"], "sha256": listed["sha256"]}:
            raise IndexFileError(
                f"{path} is not as it was written ({actual['bytes']:,} bytes, {listed['bytes']:,} expected; or another "
                "content). It is not opened. Copy the whole folder again, or build it again."
            )
        paths[key] = path
    return content, paths


def _is_there(path: Path) -> bool:
    """Whether it is a file; False for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError as error:
        problem = "does not exist" if not folder.exists() else f"has no {NAME}"
        raise IndexFileError(
            f"{folder} {problem}. Expected the folder of an index, as `Index.save` writes it."
        ) from error
    except OSError as error:
        raise IndexFileError(f"{path} cannot be read: {error}") from error
    content = _checked(text)
    if content is None:
        raise IndexFileError(f"{path} is not as it was written. It is not opened; copy it again, or build it again.")
    if content.pop("format") != FORMAT:
        raise IndexFileError(
            f"{path} was written by another version of Sensorium; build the index again with this one."
        )
    return content


def _checked(text: bytes) -> dict[str, Any] | None:
    """The content of an `index.json`, or None where it is not as it was written."""
    if len(text) > MAX_JSON_BYTES:
        return None
    try:
        content: dict[str, Any] = json.loads(text)
        digest = content.pop("digest")
        plain = all(_is_listed(listed) for listed in content["files"].values())
        whole = plain and "format" in content and digest == _digest_of(content)
        return {**content, "digest": digest} if whole else None
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None


def _is_listed(listed: Mapping[str, Any]) -> bool:
    """Whether this names one of our files, its size, and its digest."""
    named = _GENERATED.fullmatch(listed["name"]) is not None
    return named and isinstance(listed["bytes"], int) and isinstance(listed["sha256"], str)


def check_target(folder: Path) -> None:
    """Refuses to write into a folder that is something else.

    Raises:
        IndexFileError: it is a file, or holds something other than an index.
    """
    if folder.exists() and not folder.is_dir():
        raise IndexFileError(f"{folder} is a file; expected the name of a folder, new or that of an index")
    if not folder.is_dir() or (folder / NAME).exists():
        return
    others = [path.name for path in folder.iterdir() if not _ours(path.name)]
    if others:
        raise IndexFileError(
            f"{folder} holds other files ({', '.join(sorted(others)[:3])}); expected a new folder or that of an index"
        )


def _ours(name: str) -> bool:
    return name in (NAME, f"{NAME}.part") or _GENERATED.fullmatch(name) is not None


def _sweep(folder: Path) -> None:
    """Removes what interrupted writes have left: all of ours that `index.json` does not name, if it is whole."""
    path = folder / NAME
    current = _checked(path.read_bytes()) if path.exists() else {"files": {}}
    if current is None:
        return
    keep = {listed["name"] for listed in current["files"].values()}
    for path in folder.iterdir():
        if path.name not in keep and path.name != NAME and _ours(path.name):
            with contextlib.suppress(OSError):  # another process has it open: the next write removes it
                path.unlink()


def _measure(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _digest_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
