"""Where the folder of a job lies: on this machine, or on an object store."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sensorium.jobs.stores.local import LocalStore
from sensorium.jobs.stores.remote import RemoteStore
from sensorium.jobs.stores.store import Store

__all__ = ["Folder", "LocalStore", "RemoteStore", "Store", "open_store"]

Folder = Store | str | os.PathLike[str]
"""A job's folder: its path, its URL, or it itself."""


def open_store(folder: Folder) -> Store:
    """The folder of a job, which need not exist yet.

    Args:
        folder: a path, `file://…`, or the URL of an object store, such as `s3://bucket/run`.

    Raises:
        OptionError: a URL of something else, or one whose package is not installed.
    """
    if isinstance(folder, Store):
        return folder
    name = os.fspath(folder)
    if isinstance(folder, str) and name.startswith("file://"):
        return LocalStore(Path(name.removeprefix("file://")))
    if isinstance(folder, str) and re.match(r"[a-z][a-z0-9+.-]*://|.*::", name):
        return RemoteStore(name)
    return LocalStore(Path(name))
