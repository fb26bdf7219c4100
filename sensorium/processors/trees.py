"""What lies in a folder, in order: of this machine, of a remote file system, or of a web server that lists files."""

from __future__ import annotations

import html.parser
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol
from urllib.parse import urljoin

from sensorium.errors import InputError, OptionError
from sensorium.processors.addresses import OF_THE_WEB, scheme_of
from sensorium.processors.limits import MediaLimits
from sensorium.processors.ordering import in_order
from sensorium.processors.remote import open_file_system
from sensorium.processors.urls import fetch, public_url


class TreeEntry(NamedTuple):
    """One file or folder.

    Attributes:
        name: with a slash at its end if it is a folder, so that paths sort as their names do.
        stamp: of a file: its size, and when it was written or what its content is called; None where that is not told.
    """

    name: str
    stamp: str | None = None


class Tree(Protocol):
    """Folders on one file system."""

    def entries(self, folder: str) -> Iterator[TreeEntry]:
        """What a folder holds, sorted; raises OSError where it cannot be read."""

    def entry(self, folder: str, name: str) -> Iterator[TreeEntry]:
        """What a folder holds under this name, if there is something."""

    def is_link(self, folder: str) -> bool:
        """Whether a folder is only a link to one."""


class LocalTree:
    """Folders of this machine.

    Args:
        stamped: whether files are asked for their stamps.
    """

    def __init__(self, *, stamped: bool) -> None:
        self._stamped = stamped

    def entries(self, folder: str) -> Iterator[TreeEntry]:
        """See `Tree`; of very many names, most wait on disk."""
        for name in in_order(_names(folder or ".")):
            yield TreeEntry(name, self.stamp(folder + name) if self._stamped and not name.endswith("/") else None)

    def entry(self, folder: str, name: str) -> Iterator[TreeEntry]:
        """See `Tree`."""
        path = folder + name
        if os.path.isdir(path):  # noqa: PTH112
            yield TreeEntry(f"{name}/")
        elif os.path.lexists(path):
            yield TreeEntry(name, self.stamp(path) if self._stamped else None)

    def is_link(self, folder: str) -> bool:
        """See `Tree`."""
        return os.path.islink(folder.rstrip("/"))  # noqa: PTH114

    def stamp(self, path: str) -> str | None:
        """A file's stamp, None where there is no file."""
        try:
            status = os.stat(path)  # noqa: PTH116
        except (OSError, ValueError):
            return None
        return f"{status.st_size} {status.st_mtime_ns}"


class RemoteTree:
    """Folders of a remote file system.

    Args:
        address: any one on it.

    Raises:
        OptionError: the file system is not known, or a folder cannot be read: what is missing would not be told.
    """

    def __init__(self, address: str) -> None:
        self._system, _ = open_file_system(address)

    def entries(self, folder: str) -> Iterator[TreeEntry]:
        """See `Tree`; all names of a folder are in memory."""
        path = self._path(folder)
        found = {}
        for entry in self._asked(self._system.ls, path, detail=True):
            name = entry["name"].rstrip("/").rpartition("/")[2]
            if entry["name"].strip("/") != path.strip("/") and name:  # object stores have markers of folders
                is_folder = entry["type"] == "directory"
                found[f"{name}/" if is_folder else name] = None if is_folder else _stamp(entry)
        self._system.invalidate_cache()  # what was listed does not stay in memory
        for name in sorted(found):
            yield TreeEntry(name, found[name])

    def entry(self, folder: str, name: str) -> Iterator[TreeEntry]:
        """See `Tree`."""
        try:
            entry = self._asked(self._system.info, self._path(folder + name))
        except FileNotFoundError:
            return
        is_folder = entry["type"] == "directory"
        yield TreeEntry(f"{name}/") if is_folder else TreeEntry(name, _stamp(entry))

    def is_link(self, folder: str) -> bool:
        """See `Tree`."""
        return False

    def _path(self, address: str) -> str:
        return str(self._system._strip_protocol(address))

    def _asked(self, call: Any, path: str, **more: Any) -> Any:
        try:
            return call(path, **more)
        except FileNotFoundError:
            raise
        except Exception as error:  # each file system raises errors of its own
            raise OptionError(f"{path} cannot be listed: {type(error).__name__}: {error}") from error


class WebTree:
    """Folders of a web server that answers with a page of links to what is in them.

    Args:
        limits: those of URLs hold for the pages, too.
    """

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits

    def entries(self, folder: str) -> Iterator[TreeEntry]:
        """See `Tree`; what is no link to a file in the folder is passed over."""
        page = _FolderPage(folder)
        try:
            page.feed(fetch(folder, name=public_url(folder), limits=self._limits, kind="page").decode(errors="replace"))
        except InputError as error:
            raise OptionError(f"what lies in {public_url(folder)} cannot be listed: {error}") from error
        yield from map(TreeEntry, sorted(page.names))

    def entry(self, folder: str, name: str) -> Iterator[TreeEntry]:
        """See `Tree`."""
        yield from (each for each in self.entries(folder) if each.name.rstrip("/") == name)

    def is_link(self, folder: str) -> bool:
        """See `Tree`."""
        return False


def tree_of(word: str, *, limits: MediaLimits, stamped: bool) -> Tree:
    """The tree in which a path or an address lies.

    Raises:
        OptionError: a file system that is not known, or whose package is not installed.
    """
    scheme = scheme_of(word)
    if scheme in OF_THE_WEB:
        return WebTree(limits)
    return LocalTree(stamped=stamped) if scheme is None else RemoteTree(word)


class _FolderPage(html.parser.HTMLParser):
    """The names in a folder to which a page has links."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if tag == "a" and name == "href" and value:
                url = urljoin(self._folder, value)
                inside = url.removeprefix(self._folder)
                plain = inside.removesuffix("/")
                if inside != url and plain not in ("", ".", "..") and not set("/?#") & set(plain):
                    self.names.add(inside)


def _names(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            yield f"{entry.name}/" if is_folder else entry.name


def _stamp(entry: dict[str, Any]) -> str:
    """What a file system tells of a file; `datetime` and numbers become texts that are the same each time."""
    keys = ("ETag", "etag", "checksum", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
    told = next((entry[key] for key in keys if entry.get(key) is not None), "")
    return f"{entry.get('size')} {told}"
