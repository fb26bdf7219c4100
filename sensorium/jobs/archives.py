"""Archives of samples (WebDataset's tar files): listed in order, their members read where they lie, none unpacked.

Members that follow each other under one key, `0001.jpg` and `0001.json`, are one input. The listing has the place of
each in its archive, so that a worker reads it alone. Names of members are names only: none is ever a path of this
machine.
"""

from __future__ import annotations

import itertools
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from sensorium.errors import OptionError, SensoriumError, UnknownNameError
from sensorium.jobs.listing import STAMP
from sensorium.jobs.members import Member, open_to_list, read_members
from sensorium.jobs.tables import PREFIX
from sensorium.processors.folders import SUFFIXES, media_kind
from sensorium.processors.trees import LocalTree
from sensorium.results.surrogates import storable

if TYPE_CHECKING:
    import pyarrow as pa

MAX_TEXT = 2**20
"""Bytes of a text, or of a carried member."""
MAX_NAME = 4096
"""Characters of what an input is called."""


@dataclass(frozen=True)
class Wanted:
    """Which members of a sample are inputs of the task, and which go along.

    Attributes:
        media: the media that are inputs, with the ends of their members' names.
        texts: the texts that are inputs, with the ends of theirs.
        carry: the ends of the names of members whose content is carried.
        needed: inputs that have to be there.
    """

    media: Mapping[str, frozenset[str]]
    texts: Mapping[str, str]
    carry: tuple[str, ...]
    needed: frozenset[str]

    @classmethod
    def of(
        cls, inputs: Sequence[str], optional: Sequence[str], columns: Mapping[str, str], carry: Sequence[str]
    ) -> Wanted:
        """What is wanted, by the names of the task's inputs.

        Args:
            inputs: the task's.
            optional: those that may be left out.
            columns: the ends of members' names by names of inputs: `{"question": "txt"}`; media need none, and are
                found by the ends of pictures and sounds.
            carry: ends of names, such as "json" or "cls".

        Raises:
            UnknownNameError: no such input.
            OptionError: it is not said which member is a text that is an input.
        """
        for name in columns:
            if name not in (*inputs, *optional):
                raise UnknownNameError("input of the task", name, (*inputs, *optional))
        media, texts = {}, {}
        for name in (*inputs, *optional):
            kind, end = media_kind(name), columns.get(name, "").lower().lstrip(".")
            if kind is not None and (end or name in inputs):
                media[name] = frozenset([f".{end}"]) if end else SUFFIXES[kind]
            elif end:
                texts[name] = end
            elif name in inputs:
                raise OptionError(
                    f"it is not known which member of a sample is the task's input {name!r}: say so, "
                    f'columns={{{name!r}: "txt"}}, --column {name}=txt'
                )
        if len(media) > 1 and not all(name in columns for name in media):
            raise OptionError(f"say which member of a sample is which of {', '.join(media)}: columns={{…}}, --column …")
        return cls(media, texts, tuple(carry), frozenset(inputs))


def open_archive(archive: str, wanted: Wanted, skipped: Counter[str], *, at_once: int) -> Iterator[pa.RecordBatch]:
    """The samples of an archive, as a listing has them.

    Args:
        archive: its path or address.
        wanted: which members are inputs, and which go along.
        skipped: counts what was left out.
        at_once: samples a batch.

    Raises:
        OptionError: it cannot be read, or is no archive.
    """
    stamp = LocalTree(stamped=True).stamp(archive)
    try:
        with open_to_list(archive) as file:
            rows = (_row(archive, sample, wanted, file, skipped) for sample in _samples(read_members(file, skipped)))
            found = (row for row in rows if row is not None)
            while some := list(itertools.islice(found, at_once)):
                yield _batch(some, wanted, stamp)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, SensoriumError):
            raise
        raise OptionError(f"the archive {archive} cannot be read: {error}. Nothing of the job was begun") from error


def _samples(members: Iterator[Member]) -> Iterator[dict[str, Member]]:
    """Members that follow each other under one key, by the ends of their names, which come once in a sample."""
    sample: dict[str, Member] = {}
    key = None
    for member in members:
        if member.key != key or member.end in sample:
            if sample:
                yield sample
            sample, key = {}, member.key
        sample[member.end] = member
    if sample:
        yield sample


def _row(
    archive: str, sample: Mapping[str, Member], wanted: Wanted, file: IO[bytes], skipped: Counter[str]
) -> dict[str, Any] | None:
    """The columns of a sample; None if it has none of the inputs that are needed."""
    inputs: dict[str, Any] = {}
    for name, ends in wanted.media.items():
        found = next((each for each in sample.values() if _is_of(each, ends)), None)
        inputs[name] = None if found is None else {"archive": archive, "offset": found.offset, "size": found.size}
    for name, end in wanted.texts.items():
        inputs[name] = _content(file, sample.get(end))
    first = next(iter(sample.values()))
    if all(inputs[name] is None for name in inputs if name in wanted.needed):
        skipped["samples without an input"] += 1
        return None
    called = f"{archive}#{first.key}"
    row = {"source": called if len(called) <= MAX_NAME else f"{called[:MAX_NAME]}…"}
    row |= {PREFIX + name: value for name, value in inputs.items()}
    return row | {end: _content(file, sample.get(end.lower().lstrip("."))) for end in wanted.carry}


def _is_of(member: Member, ends: frozenset[str]) -> bool:
    """Whether a member has one of these ends, as a whole (`seg.png`) or as its last part."""
    return f".{member.end}" in ends or (len(ends) > 1 and PurePosixPath(member.name).suffix.lower() in ends)


def _content(file: IO[bytes], member: Member | None) -> str | None:
    if member is None:
        return None
    if member.size > MAX_TEXT:
        raise tarfile.ReadError(
            f"the text {member.name[:200]!r} has {member.size:,} bytes; expected at most {MAX_TEXT:,}"
        )
    file.seek(member.offset)
    return file.read(member.size).decode("utf-8", "surrogateescape")


def _batch(rows: list[dict[str, Any]], wanted: Wanted, stamp: str | None) -> pa.RecordBatch:
    import pyarrow as pa

    place = pa.struct([("archive", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
    columns: dict[str, Any] = {"source": pa.array(storable(row["source"] for row in rows), pa.string())}
    columns[STAMP] = pa.array([stamp] * len(rows), pa.string())
    for name in wanted.media:
        given = [row[PREFIX + name] for row in rows]
        given = [each and {**each, "archive": storable([each["archive"]])[0]} for each in given]
        columns[PREFIX + name] = pa.array(given, place)
    for name in (*(PREFIX + name for name in wanted.texts), *wanted.carry):
        columns[name] = pa.array(storable(row[name] for row in rows), pa.string())
    return pa.RecordBatch.from_pydict(columns)
