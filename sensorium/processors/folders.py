"""Which files of folders are pictures or sounds, by the ends of their names; none is opened."""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sensorium.processors.skipped import Skipped

IMAGE_SUFFIXES = "avif avifs bmp gif jfif jpe jpeg jpg mpo pbm pfm pgm png apng pnm ppm tif tiff webp"
if importlib.util.find_spec("pillow_heif") is not None:
    IMAGE_SUFFIXES += " heic heif hif"
AUDIO_SUFFIXES = "aif aifc aiff au bwf caf flac mp2 mp3 oga ogg opus rf64 snd w64 wav wave"

SUFFIXES = {
    "image": frozenset("." + name for name in IMAGE_SUFFIXES.split()),
    "audio": frozenset("." + name for name in AUDIO_SUFFIXES.split()),
}
"""What a folder is searched for, by the kind of input. Inputs of other kinds are taken as text, as they stand."""


def media_kind(name: str) -> str | None:
    """What kind of file an input of this name is ("image" for "image0"), or None for text."""
    kind = name.rstrip("0123456789")
    return kind if kind in SUFFIXES else None


@dataclass
class FileSearch:
    """Which files one word after the other stands for: a folder, a glob, or itself.

    Attributes:
        kind: of media, or None for text.
        skipped: is told what folders hold besides.
        excluded: whether a path is left out; within a folder, its path from there.
    """

    kind: str | None
    skipped: Skipped = field(default_factory=Skipped)
    excluded: Callable[[str], bool] = lambda _: False
    suffixes: frozenset[str] = field(init=False)

    @classmethod
    def of(cls, name: str, skipped: Skipped | None, excluded: Callable[[str], bool]) -> Self:
        """The search for what an input of this name takes."""
        return cls(media_kind(name), Skipped() if skipped is None else skipped, excluded)

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
        elif not self.excluded(word):
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
        return sorted(
            n for n in names if not n.startswith(".") and not self.excluded(os.path.normpath(f"{inside}/{n}"))
        )

    def _matches(self, pattern: str) -> Iterator[str]:
        seen = set()
        for name in sorted(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - also absolute patterns
            if self.excluded(name):
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
