"""From the words on the command line to inputs: files, folders, globs, URLs, and lines of standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

IMAGE_SUFFIXES = "avif bmp gif jfif jpe jpeg jpg mpo pbm pgm png apng pnm ppm tif tiff webp"
AUDIO_SUFFIXES = "aif aifc aiff flac mp3 oga ogg opus wav wave"

SUFFIXES = {
    "image": frozenset("." + name for name in IMAGE_SUFFIXES.split()),
    "audio": frozenset("." + name for name in AUDIO_SUFFIXES.split()),
}
"""What a folder is searched for, by the kind of input. Inputs of other kinds are taken as text, as they stand."""


def count_inputs(words: Iterable[str], kind: str) -> int | None:
    """How many inputs `read_inputs` will give, or None if some come from standard input."""
    words = list(words)
    return None if "-" in words else sum(1 for _ in read_inputs(words, kind))


def read_inputs(words: Iterable[str], kind: str) -> Iterator[str]:
    """Yields the inputs that the words stand for, lazily, in order.

    A folder stands for its files of the kind, to any depth, sorted; a glob for what it matches, sorted; `-` for the
    lines of standard input. Anything else stands for itself, even if it does not exist: then it fails alone, as
    its own row. Hidden files and folders are left out unless named.

    Args:
        words: the arguments.
        kind: the task's input, such as "image".
    """
    for word in words:
        if word == "-":
            for line in sys.stdin.buffer:
                if name := os.fsdecode(line.rstrip(b"\r\n")):
                    yield from _expand(name, kind)
        else:
            yield from _expand(word, kind)


def media_kind(name: str) -> str | None:
    """What kind of file an input of this name is ("image" for "image0"), or None for text."""
    kind = name.rstrip("0123456789")
    return kind if kind in SUFFIXES else None


def _expand(word: str, name: str) -> Iterator[str]:
    kind = media_kind(name)
    if kind is None or word.startswith(("http://", "https://", "data:")):
        yield word
    elif os.path.isdir(word):  # noqa: PTH112 - False, not an error, for a name that no file can have
        yield from _or_itself(_walk(word, SUFFIXES[kind]), word)
    elif glob.has_magic(word) and not os.path.exists(word):  # noqa: PTH110
        yield from _or_itself(_matches(word, kind), word)
    else:
        yield word


def _or_itself(paths: Iterator[str], word: str) -> Iterator[str]:
    """A folder without pictures, or a glob without matches, is an input that fails, not nothing."""
    empty = True
    for name in paths:
        empty = False
        yield name
    if empty:
        yield word


def _walk(folder: str, suffixes: frozenset[str]) -> Iterator[str]:
    unreadable: list[str] = []
    for where, folders, files in os.walk(folder, onerror=lambda error: unreadable.append(error.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield str(Path(where, name))
    yield from unreadable  # fail as inputs of their own


def _matches(pattern: str, kind: str) -> Iterator[str]:
    seen = set()
    for name in sorted(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - also absolute patterns
        for path in _walk(name, SUFFIXES[kind]) if Path(name).is_dir() else [name]:
            if path not in seen:  # ** matches a folder and what is in it
                seen.add(path)
                yield path
