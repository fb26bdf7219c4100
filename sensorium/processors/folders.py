"""Which files of folders are pictures, sounds or films, by the ends of their names; none is opened."""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, Self

from sensorium.processors.addresses import OF_THE_WEB, scheme_of
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits
from sensorium.processors.remote import open_file_system
from sensorium.processors.searching import Found, TreeSearch
from sensorium.processors.skipped import Skipped
from sensorium.processors.trees import LocalTree, tree_of

IMAGE_SUFFIXES = "avif avifs bmp gif jfif jpe jpeg jpg mpo pbm pfm pgm png apng pnm ppm tif tiff webp"
if importlib.util.find_spec("pillow_heif") is not None:
    IMAGE_SUFFIXES += " heic heif hif"
AUDIO_SUFFIXES = "aif aifc aiff au bwf caf flac mp2 mp3 oga ogg opus rf64 snd w64 wav wave"
VIDEO_SUFFIXES = "3g2 3gp asf avi f4v flv gif m2ts m4v mkv mov mp4 mpe mpeg mpg mts ogv qt webm wmv"

SUFFIXES = {
    "image": frozenset("." + name for name in IMAGE_SUFFIXES.split()),
    "audio": frozenset("." + name for name in AUDIO_SUFFIXES.split()),
    "video": frozenset("." + name for name in VIDEO_SUFFIXES.split()),
}
"""What a folder is searched for, by the kind of input. Inputs of other kinds are taken as text, as they stand."""


_GREY = ("trimap", "mask")
"""Inputs that are pictures, too, beside the one that they are of."""


def media_kind(name: str) -> str | None:
    """What kind of file an input of this name is ("image" for "image0"), or None for text."""
    kind = "image" if name in _GREY else name.rstrip("0123456789")
    return kind if kind in SUFFIXES else None


@dataclass
class FileSearch:
    """Which files one word after the other stands for: a folder, a glob, or itself.

    Attributes:
        kind: of media, or None for text.
        skipped: is told what folders hold besides.
        excluded: whether a path is left out; within a folder, its path from there.
        remote: whether folders and globs on remote file systems, and globs of web servers, are searched; if not, such
            a word stands for itself.
        stamped: whether files are asked for their stamps.
        limits: of URLs, for the pages of web servers.
    """

    kind: str | None
    skipped: Skipped = field(default_factory=Skipped)
    excluded: Callable[[str], bool] = lambda _: False
    remote: bool = False
    stamped: bool = False
    limits: MediaLimits = DEFAULT_LIMITS
    suffixes: frozenset[str] = field(init=False)

    @classmethod
    def of(cls, name: str, skipped: Skipped | None, excluded: Callable[[str], bool], **more: Any) -> Self:
        """The search for what an input of this name takes."""
        return cls(media_kind(name), Skipped() if skipped is None else skipped, excluded, **more)

    def __post_init__(self) -> None:
        self.suffixes = SUFFIXES.get(self.kind or "", frozenset())

    def expand(self, word: str) -> Iterator[str]:
        """The inputs that a word stands for."""
        return (found.path for found in self.find(word))

    def find(self, word: str) -> Iterator[Found]:
        """The inputs that a word stands for, each with its stamp. Of none, the word itself, as an input that fails."""
        if self.kind is None or word[:5].lower() == "data:":
            yield Found(word)
        elif (meaning := self.meaning(word)) is not None:
            tree = tree_of(word if self.remote else "", limits=self.limits, stamped=self.stamped)
            if self.kind == "video" and meaning == "folder" and is_film(word):
                yield Found(word)
                return
            search = TreeSearch(tree, self.suffixes, self.skipped, self.excluded)
            found = search.matching(word) if meaning == "glob" else search.in_folder(word)
            yield next(found, Found(word, empty=True))
            yield from found
        elif not self.excluded(word):
            yield Found(word, LocalTree(stamped=True).stamp(word) if self.stamped and "://" not in word else None)

    def meaning(self, word: str) -> Literal["folder", "glob"] | None:
        """What a word is, if it stands for several inputs."""
        scheme = scheme_of(word)
        if self.kind is None:
            return None
        if scheme in OF_THE_WEB:
            return "glob" if self.remote and "*" in word and not set("?#") & set(word) else None
        if scheme is None or not self.remote:
            return _local_meaning(word)
        if PurePosixPath(word).suffix.lower() in self.suffixes and not glob.has_magic(word):
            return None  # to ask for each name of a long list would take too long
        system, path = open_file_system(word)
        if word.endswith("/") or system.isdir(path):
            return "folder"
        return "glob" if glob.has_magic(word) and not system.exists(path) else None


def _local_meaning(word: str) -> Literal["folder", "glob"] | None:
    if os.path.isdir(word):  # noqa: PTH112 - False, not an error, for a name that no file can have
        return "folder"
    return "glob" if glob.has_magic(word) and not os.path.exists(word) else None  # noqa: PTH110


def is_film(folder: str | os.PathLike[str]) -> bool:
    """Whether a local folder is a film itself: one that holds pictures, its frames, and no film."""
    try:
        with os.scandir(folder) as entries:
            held = {os.path.splitext(entry.name)[1].lower() for entry in entries if entry.is_file()}  # noqa: PTH122
    except OSError:  # an address, or one that may not be read: the search tells
        return False
    return bool(held & SUFFIXES["image"]) and not held & SUFFIXES["video"]
