"""A folder on this machine for what is on its way to another place."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path


class Scratch:
    """A folder below that for temporary files, the same one for each run of a job.

    So a run finds what one before has left that was killed, and clears it away.

    Args:
        address: of the job's folder.
    """

    def __init__(self, address: str) -> None:
        user = os.getuid() if hasattr(os, "getuid") else 0
        name = hashlib.sha256(address.encode()).hexdigest()[:16]
        self._path, self._user = Path(tempfile.gettempdir(), f"sensorium-job-{user}-{name}"), user

    def made(self) -> Path:
        """The folder, which only this user may read.

        Raises:
            OSError: there is no room for it, or something of another user lies there.
        """
        self._path.mkdir(mode=0o700, exist_ok=True)
        found = self._path.lstat()
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != self._user):
            raise OSError(f"{self._path} is no folder of this user; set TMPDIR to a folder that is")
        return self._path

    def clear(self) -> None:
        """Removes it, with what it holds."""
        shutil.rmtree(self._path, ignore_errors=True)
