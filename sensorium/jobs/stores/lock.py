"""One run at a time in a folder, however the one before has ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from sensorium.errors import JobError, OptionError
from sensorium.jobs.stores.store import LOCK, WAIT_S, Lock


class FileLock(Lock):
    """A lock that the kernel keeps for as long as any process has the file open."""

    def __init__(self, descriptor: int) -> None:
        self.descriptors = (descriptor,)


@contextlib.contextmanager
def locked(folder: Path, *, wait_s: float = WAIT_S) -> Iterator[FileLock]:
    """Holds a folder against every other run.

    The kernel keeps the lock, and lets it go when the last process that has it ends, in whatever way: the one that took
    it, and the workers, which inherit it.

    Args:
        folder: of the job.
        wait_s: seconds to wait for another run to end.

    Yields:
        It, with a descriptor for processes that are to hold it, too.

    Raises:
        JobError: another run holds it; names it.
    """
    try:
        import fcntl
    except ImportError as error:
        raise OptionError("jobs need a POSIX system (Linux, macOS, or WSL on Windows) for locking a folder") from error
    path = folder / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise JobError(
                        f"{folder} is in use by another run ({_holder(path)}). Wait for it, or end it: the same call "
                        "then goes on"
                    ) from None
                time.sleep(0.05)
        me = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, me, 0)
        yield FileLock(descriptor)
    finally:
        os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(known['pid'])} on {str(known['host'])!r}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which has not said who it is"
