"""Finds the files of a folder, or those that a glob matches, in the order of their paths, a folder at a time."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sensorium.processors.skipped import Skipped
from sensorium.processors.trees import Tree, TreeEntry


class Found(NamedTuple):
    """An input.

    Attributes:
        path: of a file, or its address, or the text.
        stamp: what tells whether it has changed (see `trees.TreeEntry`), if that was asked for and is known.
        empty: whether it is a folder or a glob that stands for no input, and so for itself.
    """

    path: str
    stamp: str | None = None
    empty: bool = False


class TreeSearch:
    """A search of one tree.

    Folders hold each of their files once, and in a pattern `**` stands for folders to any depth; neither follows links
    to folders, which other parts of a pattern do. Hidden files and folders are left out unless a pattern names them.

    Args:
        tree: where to look.
        suffixes: of the files that are taken from folders; a pattern takes whatever it matches.
        skipped: is told of the others.
        excluded: whether a path is left out; within a folder, its path from there.
    """

    def __init__(self, tree: Tree, suffixes: frozenset[str], skipped: Skipped, excluded: Callable[[str], bool]) -> None:
        self._tree, self._suffixes, self._skipped, self._excluded = tree, suffixes, skipped, excluded

    def in_folder(self, folder: str) -> Iterator[Found]:
        """The files of a folder, to any depth."""
        if "://" not in folder:
            folder = str(Path(folder))
        path = "" if folder == "." else folder if folder.endswith("://") else f"{folder.rstrip('/')}/"
        yield from self._find(_Folder(path, frozenset(), path, self._tree.entries(path)), _Pattern([]))

    def matching(self, pattern: str) -> Iterator[Found]:
        """What a glob matches; of a folder that matches, its files."""
        root, parts = _taken_apart(pattern)
        states = parts.closure({0})
        yield from self._find(self._folder(root, states, root if parts.ends(states) else None, parts), parts)

    def _find(self, start: _Folder, pattern: _Pattern) -> Iterator[Found]:
        way = [start]
        while way:
            here = way[-1]
            try:
                entry = next(here.entries, None)
            except OSError as error:  # fails as an input of its own
                way.pop()
                if here is not start or not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                    yield Found(here.path.rstrip("/") or "/")
                continue
            if entry is None:
                way.pop()
            elif entry.name.endswith("/"):
                way.extend(self._below(here, entry.name, pattern))
            elif self._takes(here, entry.name, pattern):
                yield Found(here.path + entry.name, entry.stamp)

    def _takes(self, here: _Folder, name: str, pattern: _Pattern) -> bool:
        path = here.path + name
        if not pattern.only_folders and pattern.ends(pattern.step(here.states, name)) and not self._excluded(path):
            return True
        if here.whole is None or name.startswith(".") or self._excluded(path.removeprefix(here.whole)):
            return False
        if PurePosixPath(name).suffix.lower() in self._suffixes:
            return True
        self._skipped.add(name)
        return False

    def _below(self, here: _Folder, name: str, pattern: _Pattern) -> Iterator[_Folder]:
        """The folder of this name, if something is to be found in it."""
        path, plain = here.path + name, name[:-1]
        is_link = self._tree.is_link(path)
        states = pattern.step(here.states, plain, is_link=is_link)
        whole = here.whole
        if whole is not None and (is_link or plain.startswith(".") or self._excluded(path.removeprefix(whole)[:-1])):
            whole = None
        if whole is None and pattern.ends(states) and not self._excluded(path[:-1]):
            whole = path
        if states or whole is not None:
            yield self._folder(path, states, whole, pattern)

    def _folder(self, path: str, states: frozenset[int], whole: str | None, pattern: _Pattern) -> _Folder:
        name = pattern.only_name(states) if whole is None else None
        entries = self._tree.entries(path) if name is None else self._tree.entry(path, name)
        return _Folder(path, states, whole, entries)


@dataclass
class _Folder:
    """A folder on the way.

    Attributes:
        path: with a slash at its end; empty for the current one.
        states: which parts of the pattern may match what is in it.
        whole: the path of the folder all of whose files are taken, itself or one above it; None without.
        entries: what it still holds.
    """

    path: str
    states: frozenset[int]
    whole: str | None
    entries: Iterator[TreeEntry]


class _Pattern:
    """The parts of a glob, between slashes; states are numbers of parts, or their count where it ends."""

    def __init__(self, parts: list[str]) -> None:
        self.only_folders = parts[-1:] == [""]
        self._parts = [part for part in parts if part]
        self._matches = [re.compile(fnmatch.translate(os.path.normcase(part))).match for part in self._parts]

    def closure(self, states: set[int]) -> frozenset[int]:
        """These, and those that are reached as `**` stands for no folder, too."""
        for state in sorted(states):
            while state < len(self._parts) and self._parts[state] == "**":
                state += 1  # noqa: PLW2901
                states.add(state)
        return frozenset(states)

    def step(self, states: frozenset[int], name: str, *, is_link: bool = False) -> frozenset[int]:
        """Where it stands after a name."""
        following = set()
        for state in states:
            part = self._parts[state] if state < len(self._parts) else None
            if part == "**":
                if not name.startswith(".") and not is_link:
                    following.add(state)
            elif part is None or (name.startswith(".") and not part.startswith(".")):
                continue
            elif self._matches[state](os.path.normcase(name)):
                following.add(state + 1)
        return self.closure(following)

    def ends(self, states: frozenset[int]) -> bool:
        """Whether what came so far matches."""
        return bool(self._parts) and len(self._parts) in states

    def only_name(self, states: frozenset[int]) -> str | None:
        """The name that alone can come next, which is looked up rather than looked for."""
        parts = [self._parts[state] for state in states if state < len(self._parts)]
        return parts[0] if len(parts) == 1 and not glob.has_magic(parts[0]) else None


def _taken_apart(pattern: str) -> tuple[str, _Pattern]:
    """The folder before the first part with a sign of a glob in it, as it is written, and the parts from there."""
    scheme, separator, rest = pattern.partition("://")
    if not separator:
        scheme, rest = "", pattern.replace(os.sep, "/")
    parts = rest.split("/")
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = "".join(f"{part}/" for part in parts[:first])
    return scheme + separator + root, _Pattern(parts[first:])
