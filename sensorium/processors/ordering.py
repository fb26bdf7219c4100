"""Names in order, however many: beyond some ten thousands they wait on disk."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

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
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(_written(run))]
        del run
        while following:
            files.append(opened.enter_context(_written(sorted(following))))
            following = list(itertools.islice(given, size))
        yield from heapq.merge(*map(_read, files))


def _written(names: list[str]) -> IO[bytes]:
    """A file without a name, of which nothing is left, however the process ends."""
    file = tempfile.TemporaryFile(buffering=_CHUNK)  # noqa: SIM115 - closed by its caller
    file.writelines(os.fsencode(name) + _END for name in names)
    return file


def _read(file: IO[bytes]) -> Iterator[str]:
    rest = b""
    file.seek(0)
    while chunk := file.read(_CHUNK):
        *names, rest = (rest + chunk).split(_END)
        yield from map(os.fsdecode, names)
