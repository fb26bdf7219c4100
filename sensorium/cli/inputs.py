"""From the words on the command line to inputs: files, folders, globs, URLs, and lines of standard input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from sensorium.cli.process import input_lines
from sensorium.processors.folders import FileSearch
from sensorium.processors.skipped import Skipped
from sensorium.retrieval.reading.finding import is_excluded


def count_inputs(words: Iterable[str], kind: str, *, exclude: Sequence[str] = ()) -> int | None:
    """How many inputs `read_inputs` will give, or None if some come from standard input."""
    words = list(words)
    return None if {"-", "@-"} & set(words) else sum(1 for _ in read_inputs(words, kind, exclude=exclude))


def read_inputs(
    words: Iterable[str], kind: str, *, exclude: Sequence[str] = (), skipped: Skipped | None = None
) -> Iterator[str]:
    """Yields the inputs that the words stand for, lazily, in order.

    A folder stands for its files of the kind, to any depth, sorted; a glob for what it matches, sorted; `-` (and `@-`,
    but for texts) for the lines of standard input. Anything else stands for itself, even if it does not exist: then it
    fails alone, as its own row. Hidden files and folders are left out unless named.

    Args:
        words: the arguments.
        kind: the task's input, such as "image".
        exclude: patterns of files and folders that are left out, by name or path, as `sensorium index` has them.
        skipped: is told of the files in folders that are left out because they are of another kind.
    """
    found = FileSearch.of(kind, skipped, excluded=lambda path: is_excluded(path, exclude))
    for word in words:
        if word == "-" or (word == "@-" and found.kind is not None):
            for line in input_lines():
                if name := os.fsdecode(line):
                    yield from found.expand(name)
        else:
            yield from found.expand(word)
