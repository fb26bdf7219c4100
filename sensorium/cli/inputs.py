"""From the words on the command line to inputs: files, folders, globs, URLs, and lines of standard input."""

from __future__ import annotations

import glob
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sensorium.cli.skipped import Skipped
from sensorium.retrieval.reading.finding import is_excluded

IMAGE_SUFFIXES = "avif avifs bmp gif jfif jpe jpeg jpg mpo pbm pfm pgm png apng pnm ppm tif tiff webp"
if importlib.util.find_spec("pillow_heif") is not None:
    IMAGE_SUFFIXES += " heic heif hif"
AUDIO_SUFFIXES = "aif aifc aiff au bwf caf flac mp2 mp3 oga ogg opus rf64 snd w64 wav wave"

SUFFIXES = {
    "image": frozenset("." + name for name in IMAGE_SUFFIXES.split()),
    "audio": frozenset("." + name for name in AUDIO_SUFFIXES.split()),
}
"""What a folder is searched for, by the kind of input. Inputs of other kinds are taken as text, as they stand."""


def count_inputs(words: Iterable[str], kind: str, *, exclude: Sequence[str] = ()) -> int | None:
    """How many inputs `read_inputs` will give, or None if some come from standard input."""
    words = list(words)
    return None if "-" in words else sum(1 for _ in read_inputs(words, kind, exclude=exclude))


def read_inputs(
    words: Iterable[str], kind: str, *, exclude: Sequence[str] = (), skipped: Skipped | None = None
) -> Iterator[str]:
    """Yields the inputs that the words stand for, lazily, in order.

    A folder stands for its files of the kind, to any depth, sorted; a glob for what it matches, sorted; `-` for the
    lines of standard input. Anything else stands for itself, even if it does not exist: then it fails alone, as
    its own row. Hidden files and folders are left out unless named.

    Args:
        words: the arguments.
        kind: the task's input, such as "image".
        exclude: patterns of files and folders that are left out, by name or path, as `sensorium index` has them.
        skipped: is told of the files in folders that are left out because they are of another kind.
    """
    found = _Search(media_kind(kind), exclude, Skipped() if skipped is None else skipped)
    for word in words:
        if word == "-":
            for line in sys.stdin.buffer:
                if name := os.fsdecode(line.rstrip(b"\r\n")):
                    yield from found.expand(name)
        else:
            yield from found.expand(word)


def media_kind(name: str) -> str | None:
    """What kind of file an input of this name is ("image" for "image0"), or None for text."""
    kind = name.rstrip("0123456789")
    return kind if kind in SUFFIXES else None


@dataclass
class _Search:
    """What one word after the other stands for.

    Attributes:
        kind: of media, or None for text.
        exclude: patterns.
        skipped: is told what folders hold besides.
    """

    kind: str | None
    exclude: Sequence[str]
    skipped: Skipped
    suffixes: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.suffixes = SUFFIXES.get(self.kind or "", frozenset())

    def expand(self, word: str) -> Iterator[str]:
        """The inputs that a word stands for."""
        if self.kind is None or word.startswith(("http://", "https://", "data:")):
            yield word
        elif os.path.isdir(word):  # noqa: PTH112 - False, not an error, for a name that no file can have
            yield from _or_itself(self._walk(word), word)
        elif glob.has_magic(word) and not os.path.exists(word):  # noqa: PTH110
            yield from _or_itself(self._matches(word), word)
        elif not is_excluded(word, self.exclude):
            yield word

    def _walk(self, folder: str) -> Iterator[str]:
        unreadable: list[str] = []
        for where, folders, files in os.walk(folder, onerror=lambda error: unreadable.append(error.filename)):
            inside = os.path.relpath(where, folder)
            folders[:], kept = (self._kept(inside, names) for names in (folders, files))
            for name in kept:
                if Path(name).suffix.lower() in self.suffixes:
                    yield str(Path(where, name))
                else:
                    self.skipped.add(name)
        yield from unreadable  # fail as inputs of their own

    def _kept(self, inside: str, names: list[str]) -> list[str]:
        exclude = self.exclude
        return sorted(n for n in names if not n.startswith(".") and not is_excluded(str(Path(inside, n)), exclude))

    def _matches(self, pattern: str) -> Iterator[str]:
        seen = set()
        for name in sorted(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - also absolute patterns
            if is_excluded(name, self.exclude):
                continue
            for path in self._walk(name) if Path(name).is_dir() else [name]:
                if path not in seen:  # ** matches a folder and what is in it
                    seen.add(path)
                    yield path


def _or_itself(paths: Iterator[str], word: str) -> Iterator[str]:
    """A folder without pictures, or a glob without matches, is an input that fails, not nothing."""
    empty = True
    for name in paths:
        empty = False
        yield name
    if empty:
        yield word
