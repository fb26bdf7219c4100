"""Writing into folders that others write into, too, and that are to be whole however a process ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sensorium.errors import CheckpointError

CONFIG = "config.json"
_PASSING = ".saving-"
_WHOLE = ".saved-"


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

    A process that is killed leaves all files as they were; or, once all are written, some of them in their places and
    the others in a folder from which whoever writes or reads the checkpoint next puts them there. What was not written
    whole is removed by the next that writes.

    Args:
        folder: where to; made if it is not there. Files of the same names are replaced.

    Raises:
        OSError: they could not be written; the folder holds what it held before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        _put_in_place(folder)
        for left in folder.glob(f"{_PASSING}*"):
            shutil.rmtree(left, ignore_errors=True)
        new = Path(tempfile.mkdtemp(dir=folder, prefix=_PASSING))
        try:
            yield new
            for path in _files(new):
                target = folder / path.relative_to(new)
                if target.is_dir():
                    raise IsADirectoryError(f"{target} is a folder, where a file is to be saved")
                sync(path)
            new.rename(folder / new.name.replace(_PASSING, _WHOLE))
        finally:
            shutil.rmtree(new, ignore_errors=True)
        sync(folder)
        _put_in_place(folder)


def finish_saving(folder: Path) -> None:
    """Puts in their places the files of a checkpoint that were saved by a process that was killed meanwhile.

    Raises:
        CheckpointError: they cannot be put there.
    """
    if not any(folder.glob(f"{_WHOLE}*")):
        return
    try:
        with alone_in(folder):  # who saves it now may have only begun
            _put_in_place(folder)
    except OSError as error:
        raise CheckpointError(
            f"{folder} was being saved by a process that was killed, and the files that are still to be put in their "
            f"places cannot be: {error}. Open it once where it can be written to, or save it again."
        ) from error


def _put_in_place(folder: Path) -> None:
    for whole in sorted(folder.glob(f"{_WHOLE}*")):
        if whole.is_symlink() or not whole.is_dir():  # made by somebody else, to have files moved that lie elsewhere
            continue
        for path in _files(whole):
            target = folder / path.relative_to(whole)
            if not target.parent.resolve().is_relative_to(folder.resolve()):
                raise OSError(f"{target.parent} leads out of {folder}")
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        shutil.rmtree(whole)
        sync(folder)


def _files(new: Path) -> list[Path]:
    files = [path for path in new.rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: (path.name == CONFIG and path.parent == new, path))
