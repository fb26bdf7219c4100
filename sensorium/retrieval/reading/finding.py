"""Which files of folders are documents, by the ends of their names."""

from __future__ import annotations

import gzip
import os
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.reading.formats.man import SNIFFED, is_man_page

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

SUFFIXES = {
    ".txt": "text",
    ".text": "text",
    ".rst": "reStructuredText",
    ".md": "Markdown",
    ".markdown": "Markdown",
    ".html": "HTML",
    ".htm": "HTML",
    ".xhtml": "HTML",
    ".pdf": "PDF",
    ".docx": "Word",
}
"""What is read, by the end of a file's name, in any case; `.gz` may follow. Manual pages end in their section, `.1`."""

_SECTION = re.compile(r"\.(?:[1-9][a-z]{0,3}|[ln])")


def find_documents(paths: Paths, *, exclude: str | Sequence[str] = ()) -> Iterator[str | InputError]:
    """The files that `read_documents` reads, in its order.

    A folder stands for the files in it, to any depth, whose suffix is in `SUFFIXES`, and for manual pages, sorted by
    name; other files end like those, too, and so they are looked into. Hidden files and folders (`.git`) are left out,
    and links to folders are not followed. A file that is named itself is given in any case, unless it is excluded. In
    place of a path stands an InputError for a folder without documents, or that cannot be listed, and for what is not a
    path.

    Args:
        paths: one path or several, of files and folders.
        exclude: patterns such as `"drafts"`, `"*.de.html"` or `"docs/old/*"` of what is left out: files that
            have such a name, or path from the folder that is searched, or lie in a folder that has.

    Raises:
        OptionError: patterns that are not texts.
    """
    patterns = list(exclude) if isinstance(exclude, Sequence) and not isinstance(exclude, str) else [exclude]
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.strip("/"):
            raise OptionError(f"exclude is a pattern such as 'drafts' or '*.de.html', or several, got {pattern!r}")
    return _find(paths, [pattern.removeprefix("./").strip("/") for pattern in patterns])


def _find(paths: Paths, exclude: Sequence[str]) -> Iterator[str | InputError]:
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
            yield InputError(
                f"expected a path of a file or folder, got {type(path).__name__}.",
                code="unsupported-type",
                source=type(path).__name__,
            )
        elif os.path.isdir(path):  # noqa: PTH112 - False, not an error, for a name that no file can have
            yield from _walk(os.fspath(path), exclude)
        elif not is_excluded(os.fspath(path), exclude):
            yield os.fspath(path)


def display_name(path: str) -> str:
    """A path as a text, whatever bytes a file's name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk(folder: str, exclude: Sequence[str]) -> Iterator[str | InputError]:
    refused: list[OSError] = []
    empty = True
    for where, folders, files in os.walk(folder, onerror=refused.append):
        inside = os.path.relpath(where, folder)
        folders[:], kept = (
            sorted(n for n in names if not n.startswith(".") and not is_excluded(str(Path(inside, n)), exclude))
            for names in (folders, files)
        )
        _tell_sources(where, folders, kept)
        for name in kept:
            if _is_document(Path(where, name)):
                empty = False
                yield str(Path(where, name))
        yield from (unreadable(display_name(str(error.filename)), error) for error in refused)
        empty = empty and not refused
        refused.clear()
    yield from (unreadable(display_name(str(error.filename)), error) for error in refused)
    if empty and not refused:
        name = display_name(folder)
        yield InputError(
            f"{name}: expected a folder with files whose names end in {', '.join(SUFFIXES)}, found none in it.",
            code="no-documents",
            source=name,
        )


def kind_of(path: str) -> str | None:
    """What kind of document a file is, by its name; None for none."""
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    return SUFFIXES.get(suffix) or ("manual page" if _SECTION.fullmatch(suffix) else None)


def _is_document(path: Path) -> bool:
    """Whether a file of a folder is read; those that only may be manual pages are looked into."""
    kind = kind_of(path.name)
    if kind != "manual page":
        return kind is not None
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            return is_man_page(file.read(SNIFFED))
    except (OSError, EOFError, zlib.error):
        return False


def is_excluded(path: str, patterns: Sequence[str]) -> bool:
    """Whether a file or folder is left out: by its path, its name, or the name of a folder on the way."""
    parts = Path(os.path.normpath(path)).parts
    names = ["/".join(parts), *parts]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _tell_sources(where: str, folders: Sequence[str], files: Sequence[str]) -> None:
    """Says so where Sphinx has left the sources of its pages beside them, which are the same texts once more."""
    if "_sources" in folders and any(Path(name).suffix.lower() in (".html", ".htm") for name in files):
        warnings.warn(
            f"{display_name(str(Path(where, '_sources')))} holds the sources of the HTML pages beside it, the same "
            f'texts once more: exclude="_sources" (--exclude _sources) leaves them out.',
            UserWarning,
            stacklevel=4,
        )


def unreadable(name: str, why: Any) -> InputError:
    """The error for a file or folder that cannot be read, and why."""
    return InputError(
        f"{name}: expected a file or folder that can be read, got {why}. Check its permissions.",
        code="unreadable-file",
        source=name,
    )
