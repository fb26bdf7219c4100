"""A job's folder on a file system of this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sensorium.checkpoints.writing import sync
from sensorium.jobs.stores.lock import locked
from sensorium.jobs.stores.store import WAIT_S, Lock, Source, Store

if TYPE_CHECKING:
    import pyarrow.dataset


class LocalStore(Store):
    """A folder in which files are written beside the others, made durable, and renamed.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path.absolute()))
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def where(self, name: str) -> str:
        """Its path."""
        return str(self.path / name)

    def make(self) -> None:
        """Makes it, and those that it lies in."""
        self.path.mkdir(parents=True, exist_ok=True)

    def is_file(self) -> bool:
        """Whether its path is that of something else."""
        return self.path.exists() and not self.path.is_dir()

    def names(self, folder: str = "") -> list[str]:
        """What it holds."""
        try:
            return sorted(os.listdir(self.path / folder))  # noqa: PTH208 - of very many files
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """A file's content."""
        return (self.path / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        """An open file."""
        return (self.path / name).open("rb")

    def source(self, name: str) -> Source:
        """Its path."""
        return self.path / name

    def footers(self, names: Sequence[str]) -> Iterator[Source]:
        """Their paths."""
        return (self.path / name for name in names)

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """A file beside those that are there."""
        path = self.path / f"{name}.{secrets.token_hex(8)}.part"
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            sync(self.path)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def publish(self, draft: Path, name: str) -> None:
        """Makes it durable, and renames it."""
        path = self.path / name
        sync(draft)
        draft.replace(path)
        sync(path.parent)

    def delete(self, name: str) -> None:
        """Removes a file."""
        (self.path / name).unlink(missing_ok=True)

    def lock(self, *, wait_s: float = WAIT_S) -> AbstractContextManager[Lock]:
        """Takes the kernel's lock."""
        return locked(self.path, wait_s=wait_s)

    def dataset(self, names: Sequence[str]) -> pyarrow.dataset.Dataset:
        """The rows of Parquet files."""
        import pyarrow.dataset

        return pyarrow.dataset.dataset([self.where(name) for name in names], format="parquet")
