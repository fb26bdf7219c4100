"""Writing into folders that others write into, too, and that are to be whole however a process ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONFIG = "config.json"
_PASSING = ".saving-"


def sync(path: Path) -> None:
    """Waits until the disk has a file, or what a folder lists."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Waits until nobody else writes into a folder, and has others wait meanwhile.

    The kernel lets it go when the process ends, in whatever way. Nothing is held on Windows, and on network file
    systems without locks.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # no locks there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def checkpoint_written(folder: Path) -> Iterator[Path]:
    """A new folder to write a checkpoint's files into, which then go to their places, each whole, `config.json` last.

    What processes that were killed have left of theirs is removed.

    Args:
        folder: where to; made if it is not there. Files of the same names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        for left in folder.glob(f"{_PASSING}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_PASSING) as passing:
            new = Path(passing)
            yield new
            files = [path for path in new.rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: (path.name == CONFIG and path.parent == new, path)):
                sync(path)
                target = folder / path.relative_to(new)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
        sync(folder)
