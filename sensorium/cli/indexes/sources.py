"""From the words on the command line to what is indexed: documents, files of passages, pictures, sounds."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from sensorium.cli.indexes.settings import OF_TEXTS, ReadSettings
from sensorium.cli.inputs import read_inputs
from sensorium.cli.process import input_lines
from sensorium.cli.telling import Failures, say
from sensorium.errors import InputError, OptionError
from sensorium.processors.folders import SUFFIXES
from sensorium.processors.limits import MediaLimits
from sensorium.processors.skipped import Skipped
from sensorium.retrieval import Encoder, Index
from sensorium.retrieval.reading.documents import DocumentLimits, read_documents
from sensorium.retrieval.reading.finding import is_excluded
from sensorium.retrieval.reading.passage_files import read_passages
from sensorium.retrieval.reading.splitting import Splitting, split

PASSAGE_SUFFIXES = (".jsonl", ".ndjson", ".tsv")
_REMOTE = ("http://", "https://", "data:")


@dataclass
class Sources:
    """What one command is to index.

    Attributes:
        words: the arguments: files, folders, globs, and - for the lines of standard input.
        cut: what was said of how documents are cut into passages, by the options of `Splitting`.
        reading: how they are read.
        documents: what a document may cost.
        media: what a picture or a sound may cost.
        given: the options that were given which are for texts alone ("text"), and for other media alone ("media").
        failures: what reports those that cannot be read.
        failed: the error rows of all of them.
        skipped: the files in folders of pictures or sounds that are neither.
        done: how many documents, rows and media there were.
        began: when, by `time.perf_counter`.
    """

    words: list[str]
    cut: Mapping[str, Any]
    reading: ReadSettings
    documents: DocumentLimits
    media: MediaLimits
    given: Mapping[str, Sequence[str]]
    failures: Failures = field(init=False)
    failed: list[dict[str, Any]] = field(default_factory=list, init=False)
    skipped: Skipped = field(default_factory=Skipped, init=False)
    done: int = field(default=0, init=False)
    began: float = field(default_factory=time.perf_counter, init=False)
    splitting: Splitting = field(init=False)

    def __post_init__(self) -> None:
        self.splitting = Splitting(**self.cut)
        self.failures = Failures("they are only counted here, and are listed by --json")

    def read(self, encoder: Encoder, *, progress: bool, kept: bool) -> list[Any]:
        """All of `passages`."""
        return list(self.passages(encoder, progress=progress, kept=kept))

    def passages(self, encoder: Encoder, *, progress: bool, kept: bool) -> Iterator[Any]:
        """All that is to be indexed, as it is read; what cannot be is reported, and left out.

        Args:
            encoder: what is to encode it.
            progress: shows a progress bar on standard error.
            kept: whether encoded passages are kept between builds, which is impossible for inputs that come from
                elsewhere.

        Raises:
            InputError: the first that cannot be read, if the command is to stop there.
            OptionError: an input cannot be kept, or an option is for another kind of input than the encoder's.
        """
        from tqdm.auto import tqdm

        modality = encoder.modality
        for name in self.given["media" if modality == "text" else "text"]:
            raise OptionError(f"--{name} has no meaning here: the encoder is of {modality}; leave it out")
        outcomes = _texts(self, encoder) if modality == "text" else _media(self, modality, kept)
        for outcome in tqdm(outcomes, desc="reading", unit="input", disable=not progress):
            self.done += 1
            if isinstance(outcome, InputError):
                self.fail(outcome)
            else:
                yield from outcome
        if skipped := self.skipped.told():
            say(f"skipped {skipped}")

    def cut_as(self, index: Index) -> None:
        """Cuts documents as those of an index were cut, but for what was said."""
        before = dict(index.splitting or {})
        if self.cut.get("by", before.get("by")) != before.get("by"):
            before = {}  # words and overlap are those of another way
        self.splitting = Splitting(**{**before, **self.cut})

    def fail(self, error: InputError) -> None:
        """Reports an input that failed; raises its error if the command is to stop there."""
        if self.reading.on_error == "raise":
            raise error
        self.failures.tell(error, error.source or "")
        self.failed.append({"source": error.source, "code": error.code, "message": error.message})


def _texts(sources: Sources, encoder: Encoder) -> Iterator[list[Any] | InputError]:
    """The passages of each document, and each row of a file of passages."""
    exclude = sources.reading.exclude
    for are_passages, paths in groupby(_paths(sources.words), _holds_passages):
        if are_passages:
            for path in paths:
                if not is_excluded(path, exclude):
                    yield from _rows(path)
            continue
        reading = {name: getattr(sources.reading, name) for name in (*OF_TEXTS, "exclude")}
        for document in read_documents(paths, on_error="return", limits=sources.documents, **reading):
            if isinstance(document, InputError):
                yield document
                continue
            try:
                counting = encoder if sources.splitting.by == "tokens" else None
                yield list(split(document, **sources.splitting.to_dict(), encoder=counting))
            except InputError as error:
                yield error


def _rows(path: str) -> Iterator[list[Any] | InputError]:
    try:
        for row in read_passages(path, on_error="return"):
            yield row if isinstance(row, InputError) else [row]
    except InputError as error:  # of the file as a whole
        yield error


def _media(sources: Sources, modality: str, kept: bool) -> Iterator[list[Any] | InputError]:
    """Paths of media as the index takes them; it decodes them itself."""
    for path in read_inputs(sources.words, modality, exclude=sources.reading.exclude, skipped=sources.skipped):
        if path.startswith(_REMOTE):
            if kept:
                raise OptionError(
                    f"{path[:100]} may lead to another {modality} at the next build, which would use what was kept of "
                    "this one; fetch it first, or pass --no-resume"
                )
        elif not os.path.isfile(path):  # noqa: PTH113 - False, not an error, for a name that no file can have
            yield _missing(path, modality)
            continue
        yield [{modality: path}]


def _missing(path: str, modality: str) -> InputError:
    if os.path.isdir(path):  # noqa: PTH112
        ends = ", ".join(sorted(SUFFIXES[modality]))
        message = f"{path}: expected a folder with files whose names end in {ends}, found none in it."
        return InputError(message, code="no-documents", source=path)
    message = f"{path}: expected a file or folder, found none at {os.path.abspath(path)!r}. Check the path."  # noqa: PTH100
    return InputError(message, code="missing-file", source=path)


def _paths(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        names = [word]
        if word == "-":
            names = [os.fsdecode(line) for line in input_lines() if line]
        for name in names:
            magic = glob.has_magic(name) and not os.path.exists(name)  # noqa: PTH110
            yield from (magic and sorted(glob.glob(name, recursive=True))) or [name]  # noqa: PTH207


def _holds_passages(path: str) -> bool:
    return Path(path.lower().removesuffix(".gz")).suffix in PASSAGE_SUFFIXES and not os.path.isdir(path)  # noqa: PTH112
