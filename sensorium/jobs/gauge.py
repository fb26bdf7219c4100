"""How far a worker is: a few numbers in a file that both sides map, so that they outlive the worker."""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np


@dataclass(frozen=True)
class GaugeReading:
    """What a gauge has shown.

    Attributes:
        taken: how many inputs of the shard had been begun.
        given: how many of them, from the first, had an outcome.
        failed: how many of these failed.
    """

    taken: int = 0
    given: int = 0
    failed: int = 0


class Gauge:
    """What a worker has taken and given of the shard that it is at.

    Attributes:
        path: of the file; the side that has made it removes it.
        descriptor: of a file without a name, which a process has to inherit to open its path; None of others.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self.path, self.descriptor = path, descriptor
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._numbers = np.frombuffer(self._map, dtype=np.int64)

    @classmethod
    def make(cls) -> Self:
        """Makes one, in the folder for temporary files."""
        descriptor, name = tempfile.mkstemp(prefix="sensorium-worker-")
        os.write(descriptor, bytes(8 * 4))
        os.close(descriptor)
        return cls(Path(name))

    @classmethod
    def unnamed(cls) -> Self:
        """Makes one that no folder lists, and of which nothing is left, however the processes end that have it."""
        with tempfile.TemporaryFile() as file:
            file.write(bytes(8 * 4))
            file.flush()
            descriptor = os.dup(file.fileno())
        return cls(Path(f"/dev/fd/{descriptor}"), descriptor)

    @property
    def taken(self) -> int:
        """How many inputs of the shard have been begun."""
        return int(self._numbers[0])

    @taken.setter
    def taken(self, value: int) -> None:
        self._numbers[0] = value

    @property
    def given(self) -> int:
        """How many of them, from the first, have an outcome."""
        return int(self._numbers[1])

    @given.setter
    def given(self, value: int) -> None:
        self._numbers[1] = value

    @property
    def failed(self) -> int:
        """How many of these failed."""
        return int(self._numbers[2])

    @failed.setter
    def failed(self, value: int) -> None:
        self._numbers[2] = value

    def read(self) -> GaugeReading:
        """What it shows now."""
        return GaugeReading(self.taken, self.given, self.failed)

    def reset(self) -> None:
        """Sets it to the beginning of a shard."""
        self._numbers[:] = 0

    def remove(self) -> None:
        """Removes the file, or lets go of it where it has no name."""
        if self.descriptor is None:
            self.path.unlink(missing_ok=True)
        else:
            os.close(self.descriptor)
