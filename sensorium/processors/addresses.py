"""Addresses of files on file systems other than the local one: what they look like, and which of them may be opened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from sensorium.errors import OptionError

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")

OF_THE_WEB = ("http", "https")
"""Schemes that Sensorium fetches itself, within the limits of URLs."""

_HERE = ("file", "local", "asynclocal", "async_wrapper", "asyncwrapper", "data", "dir", "git")
_OTHERS = ("generic", "reference", "zip", "tar", "libarchive", "blockcache", "cached", "filecache", "simplecache")
NOT_REMOTE = frozenset((*_HERE, *_OTHERS))
"""File systems of fsspec that lead back to this machine, or to another file system, whatever the address says."""


def scheme_of(word: str) -> str | None:
    """The scheme of an address, in lower case, or None for what is none: `s3` of `s3://bucket/cat.jpg`."""
    found = _SCHEME.match(word)
    return found[1].lower() if found else None


def is_remote(word: str) -> bool:
    """Whether this is an address that fsspec opens, such as `s3://bucket/cat.jpg`; URLs of the web are not."""
    scheme = scheme_of(word)
    return scheme is not None and scheme not in OF_THE_WEB


def is_allowed(address: str, beginnings: Iterable[str]) -> bool:
    """Whether an address lies under one of these, such as `s3://` or `s3://bucket/photos/`.

    One that climbs (`..`) or leads back to this machine does not, wherever it seems to lie.
    """
    scheme, _, rest = address.partition("://")
    if scheme.lower() in NOT_REMOTE or ".." in re.split(r"[/\\]", unquote(rest)):
        return False
    address = f"{scheme.lower()}://{rest}"
    return any(address == each or address.startswith(f"{each.rstrip('/')}/") for each in beginnings)


def checked_beginnings(beginnings: Iterable[str]) -> tuple[str, ...]:
    """The beginnings of addresses as `is_allowed` takes them.

    Raises:
        OptionError: one that is none, or that leads elsewhere than to a remote file system.
    """
    if isinstance(beginnings, str):
        raise OptionError(f"expected a tuple of beginnings of addresses such as ('s3://bucket/',), got {beginnings!r}")
    found = []
    for each in beginnings:
        scheme = scheme_of(each) if isinstance(each, str) else None
        if scheme is None or scheme in OF_THE_WEB or scheme in NOT_REMOTE:
            raise OptionError(
                f"expected the beginning of addresses on a remote file system, such as 's3://bucket/' or 's3://', got "
                f"{each!r}. Files of this machine are named by their paths, and https URLs need no leave"
            )
        found.append(f"{scheme}://{each.partition('://')[2]}")
    return tuple(found)
