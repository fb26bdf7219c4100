"""A parser as a fuzzer sees it."""

from __future__ import annotations

import atexit
import functools
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import SensoriumError

LARGEST_FILE = 2**44
"""Where ext4 refuses to seek to, as a file in memory does not."""

NUMBERS = (b"-1", b"1e999", b"NaN", b"9223372036854775807", b"18446744073709551616", b"null", b"[]", b"{}", b'"x"')
"""What JSON may hold in the place of something else."""


@dataclass(frozen=True)
class Target:
    """A parser of ours, and all that it may raise.

    Attributes:
        run: gives it some bytes.
        seeds: what a fuzzer begins with: files that the parser reads, at least one for each of its branches.
        refusals: the errors that may come of it.
        words: what mutations put in.
        json_from: where in its inputs JSON begins, which is changed as JSON, too; None where they hold none.
    """

    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    refusals: tuple[type[BaseException], ...] = (SensoriumError,)
    words: tuple[bytes, ...] = ()
    json_from: int | None = None

    def feed(self, data: bytes) -> bool:
        """Whether the parser takes it, rather than refuses it; whatever else it raises comes through."""
        try:
            self.run(data)
        except self.refusals:
            return False
        return True


class OnDisk(io.BytesIO):
    """A file in memory that seeks as one on a disk does."""

    def seek(self, offset, whence=io.SEEK_SET):
        if whence == io.SEEK_SET and LARGEST_FILE <= offset < 2**63:
            raise OSError(22, "Invalid argument")
        return super().seek(offset, whence)


@functools.cache
def scratch() -> Path:
    """A folder for files of targets; in memory, where that can be had."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="sensorium-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def on_disk(name: str, data: bytes) -> Path:
    """A file with this content."""
    path = scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def picked(data: bytes, choices: list) -> tuple:
    """One of several things, by the first byte, and the rest."""
    return choices[data[0] % len(choices)] if data else choices[0], data[1:]


def json_in(data: bytes) -> object:
    """What JSON says; None where it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def as_json(value: object, first: int | None = None) -> bytes:
    """A seed of JSON, after a byte that `picked` looks at."""
    return (b"" if first is None else bytes([first])) + json.dumps(value).encode()
