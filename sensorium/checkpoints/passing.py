"""Folders for what is on its way: they go with the process that made them, or with the next that makes one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def passing_folder(prefix: str, *, within: Path | None = None) -> Iterator[Path]:
    """A new folder that is removed in the end, unless it was given another name.

    It is held, by a lock that the kernel lets go when the process ends, in whatever way. Those that nobody holds any
    more, of processes that were killed, are removed before a new one is made.

    Args:
        prefix: how it is called, and what else it is looked for by.
        within: where it lies; None for the folder for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if within is None else within
    _sweep(parent, prefix)
    path, descriptor = _made(parent, prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def is_passing(name: str, prefix: str) -> bool:
    """Whether a folder is called as one that was made with this prefix."""
    return re.fullmatch(re.escape(prefix) + "[a-z0-9_]{8}", name) is not None


def _made(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """A new folder, held; None for its lock where there are none."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            descriptor = _held(path)
        except (BlockingIOError, FileNotFoundError):  # whoever sweeps was there first, and removes it
            continue
        except (ImportError, OSError):
            return path, None
        if path.exists():
            return path, descriptor
        os.close(descriptor)


def _sweep(parent: Path, prefix: str) -> None:
    """Removes what processes that were killed have left."""
    with os.scandir(parent) as found:
        left = [Path(entry.path) for entry in found if is_passing(entry.name, prefix)]
    for path in left:
        with contextlib.suppress(ImportError, OSError):  # it is held, of another user, or there are no locks
            descriptor = _held(path)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _held(path: Path) -> int:
    """Holds a folder, at once or not at all.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it has gone, is no folder, or there are no locks.
        ImportError: there are no locks on Windows.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
