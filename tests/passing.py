"""Folders that tests share, and that go when the process ends."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

_FOLDERS: list[Path] = []


def passing_folder(prefix):
    """A new folder, in that for temporary files."""
    _FOLDERS.append(Path(tempfile.mkdtemp(prefix=prefix)))
    return _FOLDERS[-1]


@atexit.register
def remove_folders():
    """Removes them."""
    while _FOLDERS:
        shutil.rmtree(_FOLDERS.pop(), ignore_errors=True)
