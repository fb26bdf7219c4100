"""Files that results are saved as: each result knows its suffixes, and refuses others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def suffix_of(path: str | os.PathLike[str], known: Sequence[str], *, what: str) -> str:
    """The suffix of a path, in lower case.

    Args:
        path: where a result is to be saved.
        known: the suffixes that it is saved as.
        what: the result, for the error.

    Raises:
        ValueError: another suffix, or none.
    """
    name = Path(path).name
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        drawn = " To draw it, call plot(image).save(path)." if suffix in _IMAGES else ""
        choices = (" or " if len(known) == 2 else ", ").join(known)
        raise ValueError(f"{what} is saved as {choices}, got {name!r}.{drawn}")
    return suffix
