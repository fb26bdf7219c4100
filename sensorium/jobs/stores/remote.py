"""A job's folder on an object store, through fsspec."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from sensorium.errors import JobError, OptionError
from sensorium.jobs.stores.lease import Lease, leased
from sensorium.jobs.stores.scratch import Scratch
from sensorium.jobs.stores.store import WAIT_S, Source, Store

if TYPE_CHECKING:
    import pyarrow.dataset

PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""Where objects appear whole or not at all, and can be created so that one of several wins."""

FOOTER_BYTES = 64 * 1024
FOOTERS_AT_ONCE = 256


class RemoteStore(Store):
    """Objects whose keys begin alike.

    Files are written on this machine, and put there as a whole. Nothing is taken from fsspec's caches.

    Attributes:
        scratch: a folder on this machine for what is on its way; what runs that were killed have left in it is cleared
            away by the next one.
    """

    def __init__(self, address: str) -> None:
        """Opens it; nothing is asked of it yet.

        Raises:
            OptionError: a file system that has no such objects, or whose package is missing.
        """
        super().__init__(address.rstrip("/"))
        self._fs, self._root = _file_system(address)
        self._lease: Lease | None = None
        self.scratch = Scratch(self.address)

    def where(self, name: str) -> str:
        """Its URL."""
        return f"{self.address}/{name}"

    def make(self) -> None:
        """Does nothing: folders are what names begin with."""

    def is_file(self) -> bool:
        """Whether there is an object of its own name."""
        with self._told():
            self._fs.invalidate_cache()
            try:
                return bool(self._fs.info(self._root)["type"] == "file")
            except FileNotFoundError:
                return False

    def names(self, folder: str = "") -> list[str]:
        """What it holds."""
        path = self._path(folder) if folder else self._root
        with self._told():
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(path, detail=False)
            except FileNotFoundError:
                return []
        names = {entry.rstrip("/").removeprefix(path).lstrip("/") for entry in found}
        return sorted(name for name in names if name)

    def read(self, name: str) -> bytes:
        """An object's content."""
        with self._told(name):
            return bytes(self._fs.cat_file(self._path(name)))

    def open(self, name: str) -> BinaryIO:
        """An open file, of which those pieces are fetched that are read."""
        if "memory" in self._protocols:  # its files share their place among all that read them
            return io.BytesIO(self.read(name))
        with self._told(name):
            return cast("BinaryIO", self._fs.open(self._path(name), "rb"))

    def source(self, name: str) -> Source:
        """An open file."""
        return self.open(name)

    def footers(self, names: Sequence[str]) -> Iterator[Source]:
        """The ends of the files, some hundreds at once; a whole file where its end does not hold the footer."""
        for start in range(0, len(names), FOOTERS_AT_ONCE):
            some = names[start : start + FOOTERS_AT_ONCE]
            with self._told():
                ends = self._fs.cat_ranges([self._path(name) for name in some], -FOOTER_BYTES, None)
            for name, end in zip(some, ends, strict=True):
                yield io.BytesIO(end if _has_footer(end) else self.read(name))

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """A file in the scratch folder."""
        path = self.scratch.made() / f"{Path(name).name}.{secrets.token_hex(8)}.part"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def publish(self, draft: Path, name: str) -> None:
        """Puts it there in one go, if the folder is still held, where it was.

        Raises:
            JobStoppedError: another run has taken it over.
        """
        if self._lease is not None and name.startswith("parts/"):
            self._lease.check()
        elif self._lease is not None:
            self._lease.confirm()
        with self._told(name):
            if "memory" in self._protocols:  # would be seen while it is copied
                self._fs.pipe_file(self._path(name), draft.read_bytes())
            else:
                self._fs.put_file(str(draft), self._path(name))

    def put(self, name: str, content: bytes) -> None:
        """Writes a small object, whether the folder is held or not."""
        with self._told(name):
            self._fs.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Makes an object if there is none of this name.

        Args:
            name: the object's.
            content: what no other process would write, by which an object is known that was made although the answer
                was lost.

        Returns:
            Whether it was this call that has made it.
        """
        with self._told(name):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                try:
                    return self.read(name) == content
                except FileNotFoundError:
                    return False
        return True

    def delete(self, name: str) -> None:
        """Removes an object."""
        with self._told(name), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    @contextlib.contextmanager
    def lock(self, *, wait_s: float = WAIT_S) -> Iterator[Lease]:
        """Takes a lease.

        Raises:
            JobError: another run has it, or the server lets one object be created twice.
        """
        self._prove()
        with leased(self, wait_s=wait_s) as lease:
            self._lease = lease
            self.scratch.clear()
            try:
                yield lease
            finally:
                self._lease = None
                self.scratch.clear()

    def dataset(self, names: Sequence[str]) -> pyarrow.dataset.Dataset:
        """The rows of Parquet files; what is read of them is fetched when it is read."""
        import pyarrow.dataset

        with self._told():
            paths = [self._path(name) for name in names]
            return pyarrow.dataset.dataset(paths, format="parquet", filesystem=self._fs)

    @property
    def _protocols(self) -> tuple[str, ...]:
        protocol = self._fs.protocol
        return (protocol,) if isinstance(protocol, str) else tuple(protocol)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _prove(self) -> None:
        """Makes sure that an object is created once, which not every server with the protocol of S3 keeps to."""
        name = f"job.lock.{secrets.token_hex(8)}.part"
        try:
            if not self.create(name, b"1") or self.create(name, b"2"):
                raise JobError(
                    f"{self.address} lets one object be created twice, so that runs could not be held apart there. A "
                    "job's folder lies on a local file system, or on an object store with conditional writes "
                    "(If-None-Match), as S3, Google Cloud Storage and Azure have them"
                )
        finally:
            self.delete(name)

    @contextlib.contextmanager
    def _told(self, name: str = "") -> Iterator[None]:
        """Makes an OSError of whatever the libraries raise."""
        try:
            yield
        except (OSError, OptionError, JobError):
            raise
        except Exception as error:
            where = self.where(name) if name else self.address
            raise OSError(f"{where}: {type(error).__name__}: {error}") from error


def _has_footer(end: Any) -> bool:
    """Whether this is the end of a file with all of a Parquet file's metadata, and no error."""
    return isinstance(end, bytes) and 8 <= int.from_bytes(end[-8:-4], "little") + 8 <= len(end)


def _file_system(address: str) -> tuple[Any, str]:
    import fsspec.core

    protocol = address.partition("://")[0]
    if protocol not in PROTOCOLS or "::" in address:
        raise OptionError(
            f"a job's folder is one of this machine, or on an object store ({', '.join(PROTOCOLS)}), where an object "
            f"appears whole and is created once; got {address!r}. Elsewhere neither is certain: use a "
            "folder of this machine, and copy it when the job is done"
        )
    try:
        fs, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        raise OptionError(f"{address} needs a package that is not installed: {error}") from error
    if not root.strip("/"):
        raise OptionError(f"a job's folder is a folder in a bucket, as {protocol}://bucket/run, got {address!r}")
    return fs, root.rstrip("/")
