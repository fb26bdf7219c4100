"""What an old version of a library that we are held to does otherwise than the one that is installed by default."""

from __future__ import annotations

from importlib.metadata import version

from packaging.version import Version


def older(library: str, than: str) -> bool:
    """Whether the installed library is older than a version."""
    return Version(version(library)) < Version(than)
