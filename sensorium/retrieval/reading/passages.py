"""What is searched: documents as they are read, and the passages that they are cut into."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from sensorium.errors import InputError, LimitError

RESERVED = ("id", "text", "title", "source", "start", "end")
"""The keys that every hit's passage has."""

TAKEN = (*RESERVED, "score", "before", "after")
"""The names that metadata cannot have: a hit has them itself."""

LONGEST = 1_000_000
"""Characters of a passage at most: encoders read a few hundred words, and anything longer is a document."""

LONGEST_ID = 512
"""Characters of an id at most: all ids of an index lie in memory, each with room for the longest."""

LARGEST_ID = 2**63 - 2**32
"""The largest id that is a number: passages without one get the numbers after it."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Passage:
    """A piece of text that is encoded, searched and read as one.

    Attributes:
        text: what it says; not blank, and at most 1,000,000 characters.
        title: of its document. DPR's encoders read it before the text.
        source: where its document comes from, such as a path.
        start: the first of its characters in the document's text, from 0; None with `end` where that is not known.
        end: one after the last of them: `document.text[start:end] == text` where `split` made it.
        id: its name in an index, a whole number of 64 bits or a text of at most 512 characters, but for -1 and "";
            None to have it numbered.
        metadata: anything else to keep with it, by names other than `TAKEN`.

    Raises:
        InputError: `not-text` (a text, title or source that is not a str or contains what is not a character),
            `empty-text`, `bad-offsets`, `bad-id`, `bad-metadata`.
        LimitError: `passage-too-long`.
    """

    text: str
    title: str = ""
    source: str | None = None
    start: int | None = None
    end: int | None = None
    id: int | str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_texts(self.text, self.title, self.source, noun="passage")
        if not self.text or self.text.isspace():
            raise InputError(
                "expected a passage with words, got a blank text. Leave it out.",
                code="empty-text",
                source=self.source,
            )
        if len(self.text) > LONGEST:
            raise LimitError(
                f"expected a passage of at most {LONGEST:,} characters, got {len(self.text):,}. Cut it first: "
                f"sensorium.retrieval.split(Document(text, title)) gives passages of about a hundred words.",
                code="passage-too-long",
                source=self.source,
            )
        for name in ("id", "start", "end"):  # NumPy's whole numbers are Python's
            if isinstance(getattr(self, name), Integral) and not isinstance(getattr(self, name), bool):
                object.__setattr__(self, name, int(getattr(self, name)))
        _check_id(self.id, self.source)
        _check_offsets(self)
        object.__setattr__(self, "metadata", _checked_metadata(self.metadata, self.source))

    def to_dict(self) -> dict[str, Any]:
        """`{"id", "text", "title", "source", "start", "end", **metadata}`, as a hit's passage is given."""
        return {**{name: getattr(self, name) for name in RESERVED}, **self.metadata}


@dataclass(frozen=True)
class Heading:
    """A heading of a document.

    Attributes:
        start: the first character of its line in the document's text, marks such as `##` included.
        end: one after the last.
        level: from 1, the topmost.
        text: what it says, without marks.
    """

    start: int
    end: int
    level: int
    text: str


@dataclass(frozen=True)
class Document:
    """A text to cut into passages.

    Attributes:
        text: all of it.
        title: what it is called, "" where that is not known.
        source: where it comes from, such as a path.
        metadata: copied to each of its passages. `split` adds "section", "page" and "last_page".
        headings: in the order of the text; no passage of `split_sentences` goes across one.
        pages: where each page starts in `text`, for documents that have pages. Page 1 starts at 0.
        start: where the passages begin: what comes before it (front matter) is in no passage.

    Raises:
        InputError: `not-text`, `bad-metadata`, `bad-offsets`.
    """

    text: str
    title: str = ""
    source: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    start: int = 0

    def __post_init__(self) -> None:
        _check_texts(self.text, self.title, self.source, noun="document")
        object.__setattr__(self, "metadata", _checked_metadata(self.metadata, self.source))
        offsets = [self.start, *(offset for heading in self.headings for offset in (heading.start, heading.end))]
        for name, order in (("headings", offsets), ("pages", list(self.pages))):
            if order != sorted(order) or (order and not 0 <= order[0] <= order[-1] <= len(self.text)):
                raise InputError(
                    f"expected the document's start and {name} in order and within its {len(self.text):,} "
                    f"characters, got {order[:10]} …",
                    code="bad-offsets",
                    source=self.source,
                )


def _check_texts(text: object, title: object, source: object, *, noun: str) -> None:
    named = source if isinstance(source, str) else None
    for name, value in (("text", text), ("title", title), ("source", source)):
        if name == "source" and value is None:
            continue
        _check_text(value, f"the {name} of a {noun}", named if name != "source" else None)


def _check_text(value: object, noun: str, source: str | None) -> None:
    if not isinstance(value, str):
        raise InputError(f"expected {noun} to be a str, got {type(value).__name__}.", code="not-text", source=source)
    if not value.isascii() and _LONE_SURROGATE.search(value):
        raise InputError(
            f"expected {noun} to be a text, got one with half of a surrogate pair, which is not a character.",
            code="not-text",
            source=source,
        )


def _check_id(passage_id: object, source: str | None) -> None:
    if isinstance(passage_id, str):
        _check_text(passage_id, "the id of a passage", source)
    whole = isinstance(passage_id, int) and not isinstance(passage_id, bool)
    if passage_id is not None and (not (whole or isinstance(passage_id, str)) or passage_id in (-1, "")):
        raise InputError(
            f"expected the id of a passage to be an int, a str or None, got {passage_id!r} "
            f'({type(passage_id).__name__}); -1 and "" stand for no passage.',
            code="bad-id",
            source=source,
        )
    if isinstance(passage_id, str) and (len(passage_id) > LONGEST_ID or "\0" in passage_id):
        raise InputError(
            f"expected the id of a passage to have at most {LONGEST_ID} characters, none of them NUL, got "
            f"{len(passage_id):,}: {passage_id[:40]!r} …",
            code="bad-id",
            source=source,
        )
    if whole and not -(2**63) <= passage_id <= LARGEST_ID:  # type: ignore[operator]
        raise InputError(
            f"an id is a whole number of 64 bits, at most {LARGEST_ID}, got {str(passage_id)[:40]}. Give it as a text.",
            code="bad-id",
            source=source,
        )


def _check_offsets(passage: Passage) -> None:
    start, end = passage.start, passage.end
    if start is None and end is None:
        return
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (start, end))
    if not whole or not 0 <= start <= end < 2**63:  # type: ignore[operator]
        raise InputError(
            f"expected start and end of a passage to be None both, or characters with 0 <= start <= end < 2^63, got "
            f"start={start!r:.40}, end={end!r:.40}.",
            code="bad-offsets",
            source=passage.source,
        )


def _checked_metadata(metadata: object, source: str | None) -> dict[str, Any]:
    """A copy, so that nobody changes it from outside."""
    if not isinstance(metadata, Mapping):
        raise InputError(
            f"expected metadata to be a mapping from names to values, got {type(metadata).__name__}.",
            code="bad-metadata",
            source=source,
        )
    for name in metadata:
        if not isinstance(name, str) or name in TAKEN:
            raise InputError(
                f"expected the names in metadata to be texts other than {', '.join(TAKEN)}, which a hit has itself, "
                f"got {name!r}. Give it another name.",
                code="bad-metadata",
                source=source,
            )
    return dict(metadata)
