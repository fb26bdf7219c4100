"""The members of a tar archive, found one after the other and read where they lie."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import IO, NamedTuple

from sensorium.errors import InputError, OptionError
from sensorium.processors.addresses import OF_THE_WEB, is_remote, scheme_of
from sensorium.processors.remote import open_file_system
from sensorium.processors.trees import LocalTree

MAX_HEADER = 2**16
"""Bytes of what an archive says of one member: a name has 4096 on no file system."""

_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def is_archive(word: str) -> bool:
    """Whether a word is called as an archive is."""
    return word.lower().endswith((".tar", *_PACKED))


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: as the archive has it.
        offset: where its content begins.
        size: of its content, in bytes.
    """

    name: str
    offset: int
    size: int

    @property
    def key(self) -> str:
        """What it shares with the other members of its sample: its name up to the first point after the folders."""
        folder, slash, name = self.name.rpartition("/")
        return folder + slash + name.partition(".")[0]

    @property
    def end(self) -> str:
        """The rest: `jpg`, `seg.png`."""
        return self.name.rpartition("/")[2].partition(".")[2].lower()


class MemberFile:
    """A member's content as a binary file; nothing is open before it is read, nor after its end.

    Args:
        archive: its path or address.
        offset: where the content begins.
        size: of the content.
        stamp: of the archive when it was listed, if it is a file of this machine.
        name: what it is called.
    """

    def __init__(self, archive: str, offset: int, size: int, stamp: str | None, name: str) -> None:
        self.name = name
        self._archive, self._offset, self._size, self._stamp = archive, offset, size, stamp
        self._at = 0
        self._file: IO[bytes] | None = None

    def read(self, size: int = -1) -> bytes:
        """Some bytes of the content, none at its end.

        Raises:
            InputError: `unreadable-file`, the archive is not as it was when it was listed.
            OSError: it cannot be read.
        """
        left = self._size - self._at
        wanted = left if size < 0 else min(size, left)
        some = self._some(wanted) if wanted else b""
        self._at += len(some)
        if not some or len(some) == left:
            self._close()
        return some

    def seekable(self) -> bool:
        """Yes, to its start."""
        return True

    def seek(self, offset: int) -> int:
        """Goes to a place in the content."""
        self._close()
        self._at = offset
        return offset

    def _some(self, wanted: int) -> bytes:
        if is_remote(self._archive):
            system, path = open_file_system(self._archive)
            start = self._offset + self._at
            return bytes(system.cat_file(path, start=start, end=start + wanted))
        if self._file is None:
            if LocalTree(stamped=True).stamp(self._archive) != self._stamp:
                raise InputError(
                    f"{self.name}: expected the archive as it was when it was listed, got another one, or none. Put it "
                    "back, or have what has changed found and done again: run(refresh=True, redo_changed=True), "
                    "--refresh --redo-changed",
                    code="unreadable-file",
                    source=self.name,
                )
            self._file = open(self._archive, "rb", buffering=0)  # noqa: PTH123, SIM115 - closed at its end
            self._file.seek(self._offset + self._at)
        return self._file.read(wanted)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def open_to_list(archive: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Opens an archive to find its members.

    Raises:
        OptionError: it is packed, or on a web server.
        OSError: it cannot be opened.
    """
    if archive.lower().endswith(_PACKED):
        raise OptionError(
            f"the archive {archive} is packed, and its members cannot be read alone: expected a plain .tar"
        )
    if scheme_of(archive) in OF_THE_WEB:
        raise OptionError(
            f"the archive {archive} is on a web server: download it, or name it on a file system (s3://, …)"
        )
    if is_remote(archive):
        system, path = open_file_system(archive)
        return system.open(path, "rb")  # type: ignore[no-any-return]
    return open(archive, "rb")  # noqa: PTH123


def read_members(file: IO[bytes], skipped: Counter[str]) -> Iterator[Member]:
    """The plain files of an archive, in order.

    Args:
        file: the archive, which can seek; the caller may read in it meanwhile.
        skipped: counts what is no plain file, or hidden.

    Raises:
        TarError, OSError, ValueError, OverflowError, RecursionError: it is damaged, or made to do harm.
    """
    end = 0
    with tarfile.open(fileobj=_Headers(file), mode="r:") as tar:
        while (info := tar.next()) is not None:
            vars(tar)["members"].clear()  # which would hold them all
            if info.size < 0 or tar.offset <= end:
                raise tarfile.ReadError(f"a member of {info.size} bytes, after which there is none")
            end = tar.offset
            if not info.isreg() or info.issparse():
                skipped["folders" if info.isdir() else "members that are no plain files"] += 1
            elif info.name.rpartition("/")[2].startswith("."):
                skipped["hidden members"] += 1
            else:
                yield Member(info.name, info.offset_data, info.size)
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"what is at byte {tar.offset:,} is no header of a member")


class _Headers(io.RawIOBase):
    """An archive of which no more than headers is read: a name of a gigabyte is refused."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes, more than {MAX_HEADER:,}")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
