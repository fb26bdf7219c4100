"""`sensorium index refresh`: an index brought up to date with its files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sensorium.cli.indexes.changing import IndexChange
from sensorium.errors import OptionError
from sensorium.retrieval import Index
from sensorium.retrieval.passage_table import PassageTable
from sensorium.retrieval.storage import read_folder


@dataclass
class Refresh(IndexChange):
    """An index that is made what its files say; passages of those that cannot be read stay as they are."""

    def change(self, index: Index, part: Path | None, *, progress: bool) -> tuple[str, Mapping[str, Any]]:
        """Compares, encodes what is new, and deletes what is gone."""
        if index.encoder.modality != "text":
            raise OptionError(
                f"refresh compares texts; {self.folder} holds {index.encoder.modality}: delete files, and add them"
            )
        known = _known_sources(Path(self.folder))
        named = list(self.sources.words)
        self.sources.words = [word for word in named if not _is_gone(word, known)]
        items = _as_known(self.sources.read(index.encoder, progress=progress, kept=part is not None), known)
        # an empty folder has lost its files; of what could not be read it is not known
        failed = [row["source"] for row in self.sources.failed if row["source"] and row["code"] != "no-documents"]
        meant = {source for source in known if any(_holds(word, source) for word in named)}
        meant |= {item.source for item in items if item.source is not None}
        where = {"source": sorted(s for s in meant if not any(_holds(name, s) for name in failed))}
        done = index.refresh(items, where=where, on_error=self.sources.fail, resume=part, progress=progress)
        index.splitting = index.splitting or self.sources.splitting.to_dict()
        counts = asdict(done)
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"refreshed {self.folder}: {said} of {len(index)} passages", counts


def _known_sources(folder: Path) -> set[str]:
    _, paths = read_folder(folder, verify=False)
    sources = PassageTable.open(paths["passages"]).table["source"].unique().to_pylist()
    return {source for source in sources if source is not None}


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links are not followed, as in the names of sources


def _is_gone(word: str, known: Iterable[str]) -> bool:
    """Whether a file or folder that the index knows is there no more."""
    gone = word != "-" and not os.path.lexists(word) and not glob.has_magic(word)
    return gone and any(_holds(word, source) for source in known)


def _holds(word: str, source: str) -> bool:
    """Whether a source is the file, lies in the folder, or fits the pattern that a word of the command names."""
    path, name = _absolute(source), _absolute(word)
    if path == name or path.startswith(name.rstrip(os.sep) + os.sep):
        return True
    is_pattern = glob.has_magic(word) and not os.path.exists(word)  # noqa: PTH110
    return is_pattern and _fits(Path(path).parts, Path(name).parts)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a glob, part by part: `*` does not reach into folders, `**` stands for any number of them."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _as_known(items: Iterable[Any], known: Iterable[str]) -> list[Any]:
    """The passages with the names of their sources that the index has for the same files."""
    names = {_absolute(source): source for source in known}
    return [
        item if item.source is None else replace(item, source=names.get(_absolute(item.source), item.source))
        for item in items
    ]
