"""Names in order, however many: beyond some ten thousands they wait on disk."""

from __future__ import annotations

import heapq
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

AT_ONCE = 100_000
"""Names that are in memory at once."""

_END = b"\0"  # no name of a file has it
_CHUNK = 1 << 14


def in_order(names: Iterable[str], *, at_once: int | None = None) -> Iterator[str]:
    """The same names, sorted.

    Args:
        names: without a NUL character.
        at_once: how many are sorted in memory; of more, sorted runs are written to temporary files, and merged.
    """
    size = AT_ONCE if at_once is None else at_once
    given = iter(names)
    run, following = sorted(itertools.islice(given, size)), list(itertools.islice(given, size))
    if not following:
        yield from run
        return
    with tempfile.TemporaryDirectory(prefix="sensorium-names-") as place:
        paths = [_written(Path(place, "0"), run)]
        del run
        while following:
            paths.append(_written(Path(place, str(len(paths))), sorted(following)))
            following = list(itertools.islice(given, size))
        yield from heapq.merge(*map(_read, paths))


def _written(path: Path, names: list[str]) -> Path:
    with path.open("wb") as file:
        file.writelines(os.fsencode(name) + _END for name in names)
    return path


def _read(path: Path) -> Iterator[str]:
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            *names, rest = (rest + chunk).split(_END)
            yield from map(os.fsdecode, names)
