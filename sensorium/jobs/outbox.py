"""Where workers of this machine write, when the folder of their job lies on an object store."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sensorium.jobs.parts import Part, find_parts
from sensorium.jobs.stores import RemoteStore, Store

BLOCK = 16 * 2**20


class Outbox:
    """A folder on this machine that looks to workers like that of their job.

    What they need lies in it when they get an order, and the parts that they make are put into the store by this
    process: connections and credentials are its own, and so is the lease.

    Args:
        store: the job's folder.

    Attributes:
        folder: where it is.
    """

    def __init__(self, store: RemoteStore) -> None:
        self._store, self._laid = store, False
        self._before: dict[int, Part] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-", dir=store.scratch.made()))

    @classmethod
    def of(cls, store: Store) -> Self | None:
        """The outbox for a folder; None where workers write to it themselves."""
        return cls(store) if isinstance(store, RemoteStore) else None

    def lay(self, order: Mapping[str, Any]) -> None:
        """Lays out what a worker needs for an order: the inputs, and rows that are made before.

        Raises:
            OSError: the store, or the disk, does not give or take it.
        """
        if not self._laid:
            for name in self._store.names():
                if name.endswith(".parquet"):  # what lists the inputs
                    self._fetch(name)
            self._laid = True
        if order.get("codes") is not None:
            self._before = self._before or find_parts(self._store)
            part = self._before[order["shard"]]
            if not (self.folder / part.name).exists():
                self._fetch(part.name)

    def put(self, name: str) -> None:
        """Puts a part that a worker has made into the store.

        Raises:
            OSError: the store does not take it.
            JobStoppedError: the job's folder is not held any more.
        """
        path = self.folder / name
        self._store.publish(path, name)
        path.unlink()

    def close(self) -> None:
        """Clears it away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _fetch(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with contextlib.closing(self._store.open(name)) as file, path.open("wb") as copy:
            shutil.copyfileobj(file, copy, BLOCK)
