"""The folder of a job, wherever it lies: what is asked of it, and what it promises."""

from __future__ import annotations

import contextlib
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from sensorium.errors import JobError, JobStoppedError, SensoriumError

if TYPE_CHECKING:
    from io import BytesIO

    import pyarrow.dataset

LOCK = "job.lock"
"""What runs hold a folder by: a file of this name, or files that begin so."""

WAIT_S = 10.0
"""Seconds for which another run is waited for."""

_PASSING = re.compile(
    r"(job\.json|report\.html|timings\.jsonl|job\.lock|[a-z]+(-\d+)?\.parquet|\d{6,}-\d+)\.[0-9a-f]{16}\.part"
)

Source = Path | BinaryIO
"""What Arrow reads a file from."""


def is_passing(name: str) -> bool:
    """Whether a file is one of a job's own that was not finished."""
    return _PASSING.fullmatch(name) is not None


class Lock:
    """A folder that is held against every other run.

    Attributes:
        descriptors: of open files that worker processes inherit, so that they hold it, too.
    """

    descriptors: tuple[int, ...] = ()


class Store(ABC):
    """The folder of a job: files with names that are relative to it, such as `parts/000000-0.….parquet`.

    A file appears whole or not at all, and stays when it has appeared, whatever ends the process or the machine. What
    fails raises an OSError, whatever the libraries below it raise.

    Attributes:
        address: where it lies; what `open_store` opens, on every machine that sees it.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def __str__(self) -> str:
        return self.address

    @abstractmethod
    def where(self, name: str) -> str:
        """The address of a file in it."""

    @abstractmethod
    def make(self) -> None:
        """Makes it where it does not exist."""

    @abstractmethod
    def is_file(self) -> bool:
        """Whether a file lies in its place."""

    @abstractmethod
    def names(self, folder: str = "") -> list[str]:
        """What it holds, or a folder in it, sorted; nothing where that does not exist."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none of this name.
        """

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Opens a file for reading, at any place in it."""

    @abstractmethod
    def source(self, name: str) -> Source:
        """What Arrow reads a file from."""

    @abstractmethod
    def footers(self, names: Sequence[str]) -> Iterator[Source]:
        """What Arrow reads the metadata of Parquet files from, in order; of many at once where it is quicker."""

    @abstractmethod
    def draft(self, name: str) -> AbstractContextManager[Path]:
        """A file on this machine that is to be written, and then published.

        It is gone afterwards, published or not.

        Args:
            name: what it will be called, or how that begins.
        """

    @abstractmethod
    def publish(self, draft: Path, name: str) -> None:
        """Makes a draft a file of the folder, whole and for good, or not at all; it replaces one of the same name."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Removes a file; it may be gone already."""

    @abstractmethod
    def lock(self, *, wait_s: float = WAIT_S) -> AbstractContextManager[Lock]:
        """Holds the folder against every other run.

        Args:
            wait_s: seconds to wait for another run to end.

        Raises:
            JobError: another run holds it; names it.
        """

    @abstractmethod
    def dataset(self, names: Sequence[str]) -> pyarrow.dataset.Dataset:
        """The rows of Parquet files, in their order."""

    @contextlib.contextmanager
    def in_reach(self, kind: type[JobError]) -> Iterator[None]:
        """Says of what the store, or this machine's disk, does not do that it is nothing else.

        Raises:
            JobError: of this kind, in place of an OSError.
        """
        try:
            yield
        except SensoriumError:  # one may be an OSError, too, and says what it is
            raise
        except OSError as error:
            kept = "What was done is kept, and the same call goes on" if kind is JobStoppedError else "Try it again"
            raise kind(f"{self} cannot be used now, or this machine's disk: {error}. {kept}") from error

    def digest(self, name: str) -> str:
        """The SHA-256 of a file's content, in hexadecimal digits."""
        with contextlib.closing(self.open(name)) as file:
            return hashlib.file_digest(cast("BytesIO", file), "sha256").hexdigest()

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file, as `publish` does."""
        with self.draft(name) as draft:
            draft.write_bytes(content)
            self.publish(draft, name)
