"""Documents → passages: by words, as DPR cuts Wikipedia, or by headings, paragraphs and sentences, or tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any, Literal

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.reading.passages import Document, Heading, Passage
from sensorium.retrieval.reading.sentences import Sentence, find_sentences, find_stretches, find_words
from sensorium.retrieval.reading.token_counting import TokenCounter, in_tokens
from sensorium.tasks.options import Count, Range, check_fields

By = Literal["sentences", "words", "tokens"]

_DEFAULTS: dict[str, tuple[int | None, int]] = {"sentences": (120, 1), "words": (100, 0), "tokens": (None, 1)}
MOST_WORDS = 1000
"""Words of a passage at most."""


@dataclass(frozen=True)
class Splitting:
    """How documents are cut; `split(document, **splitting.to_dict())` does it.

    Attributes:
        by: "sentences" for `split_sentences`, "words" for `split_words`, "tokens" for `split_tokens`.
        words: how many words a passage has at most, from 1 to 1,000; None for 120 by sentences, 100 by words.
        overlap: how many sentences, or words, neighbours share, from 0; None for one sentence, or no word.
        tokens: by tokens, how many of the encoder's a passage has at most; None for as many as it reads.

    Raises:
        OptionError: a value out of its range or without meaning there, or as many shared words as a passage has.
    """

    by: By = "sentences"
    words: Annotated[int, Range(1, MOST_WORDS)] | None = None
    overlap: Annotated[int, Range(0, MOST_WORDS)] | None = None
    tokens: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        other = "words" if self.by == "tokens" else "tokens"
        if getattr(self, other) is not None:
            raise OptionError(f'{other} has no meaning for by="{self.by}", got {getattr(self, other)}')
        for name, default in zip(("words", "overlap"), _DEFAULTS[self.by], strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        if self.by == "words" and self.sizes[1] >= self.sizes[0]:
            raise OptionError(f"overlap is below words, {self.words}, got {self.overlap}")

    @property
    def sizes(self) -> tuple[int, int]:
        """`words` and `overlap`, which are numbers once the options are made, but by tokens."""
        assert self.words is not None
        assert self.overlap is not None
        return self.words, self.overlap

    def to_dict(self) -> dict[str, Any]:
        """The options that have a meaning, to be written as JSON; `Splitting(**options)` gives them back."""
        left_out = "words" if self.by == "tokens" else "tokens"
        return {name: value for name, value in asdict(self).items() if name != left_out}


def split(
    document: Document,
    *,
    by: By = "sentences",
    words: int | None = None,
    overlap: int | None = None,
    tokens: int | None = None,
    encoder: TokenCounter | None = None,
) -> list[Passage]:
    """Cut a document into passages.

    Args:
        document: with a text of any length.
        by: "sentences" for `split_sentences`, "words" for `split_words`, "tokens" for `split_tokens`.
        words: as in `Splitting`.
        overlap: as in `Splitting`.
        tokens: as in `Splitting`.
        encoder: the `Encoder` whose tokens are counted; by tokens alone.

    Returns:
        The passages in the order of the text. `document.text[p.start:p.end] == p.text` for each, and every word from
        `document.start` on is in one of them. They carry the document's title, source and metadata, and of a document
        with pages the numbers of their first and last as metadata "page" and "last_page", from 1.

    Raises:
        OptionError: as `Splitting`; an encoder that is missing, or without meaning.
        InputError: `empty-text`: the document has no words; `bad-metadata`: its metadata uses a name that is set here.
    """
    chosen = Splitting(by, words, overlap, tokens)
    if (encoder is None) == (by == "tokens"):
        raise OptionError(f'encoder goes with by="tokens", got by="{by}" and {"none" if encoder is None else "one"}')
    if encoder is not None:
        return split_tokens(document, encoder=encoder, tokens=chosen.tokens, overlap=chosen.overlap)
    cut = split_words if chosen.by == "words" else split_sentences
    return cut(document, words=chosen.words, overlap=chosen.overlap)


def split_words(document: Document, *, words: int | None = None, overlap: int | None = None) -> list[Passage]:
    """Cut a document every so many words, as DPR does: passages of 100 words that share none.

    Headings and sentences play no part. `find_words` says what counts as a word.

    Args:
        document: with a text of any length.
        words: of a passage; the last has the rest. None for 100.
        overlap: words that neighbours share, below `words`. None for 0.

    Raises:
        OptionError: as `Splitting`.
        InputError: as `split`.
    """
    size, shared = Splitting("words", words, overlap).sizes
    spans = []
    for start, end in find_stretches(document.text, document.start, len(document.text)):
        stretch = find_words(document.text, start, end)
        for first in range(0, max(len(stretch) - shared, min(1, len(stretch))), size - shared):
            part = stretch[first : first + size]
            spans.append((part[0][0], part[-1][1], ""))
    return _passages(document, spans)


def split_sentences(document: Document, *, words: int | None = None, overlap: int | None = None) -> list[Passage]:
    """Cut a document at its headings, and between them into whole sentences.

    Passages end at a paragraph's end where that leaves them at least half full. A sentence of more than `words` words
    (a table, a program) is cut at its lines' ends, and a longer line at words. A heading begins a passage, and with it
    come the headings right above it; the path of headings that a passage stands under is its metadata "section", such
    as "Install > From source", without one that says what the title does.

    Args:
        document: with a text of any length.
        words: of a passage at most. None for 120.
        overlap: sentences at a passage's end that the next begins with, as far as they fit; never across a heading.
            None for 1.

    Raises:
        OptionError: as `Splitting`.
        InputError: as `split`.
    """
    size, shared = Splitting("sentences", words, overlap).sizes
    return _passages(document, _packed(document, size, shared, lambda sentences: sentences))


def split_tokens(
    document: Document, *, encoder: TokenCounter, tokens: int | None = None, overlap: int | None = None
) -> list[Passage]:
    """Cut a document into whole sentences, as `split_sentences` does, of as many tokens as an encoder reads.

    Args:
        document: with a text of any length.
        encoder: the `Encoder` that is to read the passages.
        tokens: of a passage at most, with its title and what the encoder adds; None for as many as it reads. Only a
            single word may have more.
        overlap: as in `split_sentences`.

    Raises:
        OptionError: as `Splitting`; fewer tokens than the title takes, or an encoder that reads any number of them.
        InputError: as `split`.
    """
    chosen = Splitting("tokens", None, overlap, tokens)
    most = min((n for n in (chosen.tokens, encoder.limit) if n is not None), default=None)
    if most is None:
        raise OptionError("this encoder reads any number of tokens; say how many a passage is to have, tokens=…")
    (plain, titled) = encoder.count_tokens(["a", (document.title, "a")])
    room = most - titled
    if room < 1:
        raise OptionError(f"tokens is more than {titled}, which title and encoder take, got {most}")
    shared = chosen.overlap or 0
    spans = _packed(document, room, shared, partial(in_tokens, document.text, encoder, plain, room))
    cut = [(start, end) for start, end, _ in spans if len(find_words(document.text, start, end)) > 1]
    lengths = encoder.count_tokens([(document.title, document.text[start:end]) for start, end in cut])
    over = max(lengths, default=0) - most
    if over > 0:  # together they have some tokens more, for what stands between them
        room = max(1, room - over)
        spans = _packed(document, room, shared, partial(in_tokens, document.text, encoder, plain, room))
    return _passages(document, spans)


def _packed(
    document: Document, size: int, shared: int, weigh: Callable[[Sequence[Sentence]], Sequence[Sentence]]
) -> list[tuple[int, int, str]]:
    """Passages of whole sentences, as their first and last characters and their sections."""
    spans = []
    for start, end, heading_end, section in _sections(document):
        for first, last in find_stretches(document.text, start, end):
            body = min(max(heading_end, first), last)  # no sentence goes from a heading to what it heads
            sentences = [
                *find_sentences(document.text, first, body, most_words=min(size, MOST_WORDS)),
                *find_sentences(document.text, body, last, most_words=min(size, MOST_WORDS)),
            ]
            spans += [(*span, section) for span in _pack(weigh(sentences), size, shared)]
    return spans


def _sections(document: Document) -> Iterator[tuple[int, int, int, str]]:
    """Start, end, the end of the headings, and path of each section; headings with nothing between them are one's."""
    text, headings = document.text, [h for h in document.headings if h.start >= document.start]
    path: list[Heading] = []
    start = heading_end = document.start
    for heading in headings:
        follows = heading_end > start and not text[heading_end : heading.start].strip()
        deeper = bool(path) and heading.level > path[-1].level
        if not (follows and deeper):
            if start < heading.start:
                yield start, heading.start, heading_end, _name(path, document.title)
            start = heading.start
        heading_end = heading.end
        path = [above for above in path if above.level < heading.level] + [heading]
    yield start, len(text), heading_end, _name(path, document.title)


def _name(path: Sequence[Heading], title: str) -> str:
    return " > ".join(heading.text for heading in path if heading.text and heading.text != title)


def _pack(sentences: Sequence[Sentence], max_words: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Runs of sentences of at most `max_words` words together, each with at least one that the last had not."""
    begin, new = 0, 0
    while new < len(sentences):
        end, count = new, sum(sentence.words for sentence in sentences[begin:new])
        half_full = 0  # the last paragraph's end that leaves it at least half full
        while end < len(sentences) and count + sentences[end].words <= max_words:
            if end > new and sentences[end].opens and 2 * count >= max_words:
                half_full = end
            count += sentences[end].words
            end += 1
        if end < len(sentences) and half_full and not sentences[end].opens:
            end = half_full
        yield sentences[begin].start, sentences[end - 1].end
        begin, new = max(begin + 1, end - overlap), end
        if new < len(sentences):
            shared = sum(sentence.words for sentence in sentences[begin:new])
            while begin < new and shared + sentences[new].words > max_words:
                shared -= sentences[begin].words
                begin += 1


def _passages(document: Document, spans: Sequence[tuple[int, int, str]]) -> list[Passage]:
    if not spans:
        raise InputError(
            "expected a document with words, got a blank one. Leave it out.",
            code="empty-text",
            source=document.source,
        )
    passages = []
    for start, end, section in spans:
        added: dict[str, Any] = {"section": section} if section else {}
        if document.pages:
            added["page"] = bisect_right(document.pages, start)
            added["last_page"] = bisect_right(document.pages, end - 1)
        passages.append(
            Passage(
                document.text[start:end],
                document.title,
                document.source,
                start,
                end,
                metadata=_joined(document.metadata, added, document.source),
            )
        )
    return passages


def _joined(metadata: Mapping[str, Any], added: Mapping[str, Any], source: str | None) -> dict[str, Any]:
    for name in added:
        if name in metadata:
            raise InputError(
                f"expected the document's metadata without {name!r}, which its passages get. Give it another name.",
                code="bad-metadata",
                source=source,
            )
    return {**metadata, **added}
