"""A question with a context longer than the model takes: overlapping windows of tokens, and back to characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.padding import Padding
from sensorium.processors.text import Encoded, TextProcessor

NEVER, COUNTED, NOTHING, CONTEXT = 0, 1, 2, 3
"""The roles of a window's tokens, for a search of spans: not part of it; counted in the normalisation, but in no
span; the same, where a span of this token alone says that there is no answer; a token of the context."""

OVERLAP = 128
"""Tokens of the context that neighbouring windows share, where there is room."""


@dataclass(frozen=True)
class Context:
    """A text that is searched, and where its N tokens lie in it.

    Attributes:
        text: the text.
        starts: `(N,)` int64, the first character of each token.
        ends: `(N,)` int64, the character after its last one.
        word_starts: `(N,)` int64, the first token of the word that the token is a part of; -1 where there is no word.
        word_ends: `(N,)` int64, the last token of that word, or -1.
    """

    text: str
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    word_starts: NDArray[np.int64]
    word_ends: NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """A stretch of a context, with the question, as long as the model takes.

    Attributes:
        inputs: the model's inputs by name, `(length,)` int64 each.
        roles: `(length,)` uint8, what each token is to a search of spans.
        context: the whole context.
        begin: the context's token that the window begins with.
        end: the context's token after the last one.
        at: where in the window `begin` stands.
        title: a text that stands before the context, one separator between them; its tokens count back from -2.
    """

    inputs: dict[str, Tensor]
    roles: Tensor
    context: Context
    begin: int
    end: int
    at: int
    title: Context | None = None

    def tokens(
        self, first: NDArray[np.int64], last: NDArray[np.int64], *, whole_words: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Spans in the window's tokens as spans in the context's tokens, which are the same in every window.

        Args:
            first: `(K,)`, the position in the window of each span's first token, one of the context or its title.
            last: `(K,)`, that of its last token.
            whole_words: whether to widen a span to whole words; as far as they are in the window, and where both its
                ends lie in words of the context.

        Returns:
            `(K,)` int64 first tokens, and `(K,)` int64 last ones; negative where they lie in the title.
        """
        first, last = first - self.at + self.begin, last - self.at + self.begin
        if whole_words:
            context = self.context
            in_words = (first >= self.begin) & (context.word_starts[first] >= 0) & (context.word_ends[last] >= 0)
            first = np.where(in_words, np.maximum(context.word_starts[first], self.begin), first)
            last = np.where(in_words, np.minimum(context.word_ends[last], self.end - 1), last)
        return first, last

    def characters(
        self, first: NDArray[np.int64], last: NDArray[np.int64], *, whole_words: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The characters of the context that spans of the window's tokens in it stand for.

        Args:
            first: `(K,)`, as in `tokens`.
            last: `(K,)`, as in `tokens`.
            whole_words: as in `tokens`.

        Returns:
            `(K,)` int64 first characters, and `(K,)` int64 characters after the last ones.
        """
        first, last = self.tokens(first, last, whole_words=whole_words)
        return self.context.starts[first], self.context.ends[last]

    def text(self, first: int, last: int) -> tuple[str, int, int]:
        """What a span of the context's tokens says, and the characters of the context that it stands for.

        Args:
            first: its first token, as `tokens` gives it.
            last: its last one.

        Returns:
            The text, its first character, and the character after its last one; -1 for both where it does not lie in
            the context alone. One from the title on into the context has both parts, with a space between them.
        """
        context, title = self.context, self.title
        if first >= 0:
            start, end = int(context.starts[first]), int(context.ends[last])
            return context.text[start:end], start, end
        parts = [] if last < 0 else [context.text[: context.ends[last]]]
        count = 0 if title is None else len(title.starts)  # -1 is the separator, -1 - count the title's first token
        if title is not None and first < -1:
            until = title.ends[min(last, -2) + 1 + count]
            parts.insert(0, title.text[title.starts[first + 1 + count] : until])
        return " ".join(parts), -1, -1


def windows(
    processor: TextProcessor,
    question: str,
    context: str,
    *,
    length: int,
    overlap: int | None,
    question_length: int | None = None,
) -> Iterator[Window]:
    """Lays a question and a context out in windows, as the checkpoint's tokenizer pairs two texts.

    The question comes first, or second where the tokenizer pads on the left. Neighbouring windows share `overlap`
    tokens of the context; a context that fits gives one window.

    Args:
        processor: the checkpoint's, with a fast tokenizer.
        question: what is asked, the same in every window.
        context: the text to be searched.
        length: how many tokens a window has at most, special ones included.
        overlap: how many of the context's tokens neighbouring windows share; None for `OVERLAP`, or half of what a
            window has for the context where that is less.
        question_length: how many tokens of the question are kept; None for all.

    Raises:
        InputError: `empty-text`, a text has no tokens; `question-too-long`, too little room is left for the context.
    """
    layout = _pair(processor, question, context, question_length)
    backwards = processor.tokenizer.truncation_side == "left"
    return _cut(layout, length, overlap, backwards=backwards, advice="Shorten the question or set max_question_len=")


def titled_windows(
    processor: TextProcessor,
    question: str,
    title: str,
    context: str,
    *,
    length: int,
    overlap: int | None,
    search_title: bool,
) -> Iterator[Window]:
    """Lays a question, a title and a context out as DPR's reader takes them.

    `[CLS] question [SEP] title [SEP] context`, without a separator at the end.

    Args:
        processor: the checkpoint's, with a fast tokenizer.
        question: what is asked, the same in every window.
        title: of the context, the same in every window; may be empty.
        context: the text to be searched; one without tokens gives no window.
        length: how many tokens a window has at most, special ones included.
        overlap: how many of the context's tokens neighbouring windows share; None for `OVERLAP`, or half of what a
            window has for the context where that is less.
        search_title: whether the first window's title, with the separator after it, is searched as the context is.

    Raises:
        InputError: `empty-text`, the question has no tokens; `question-too-long`, too little room is left for the
            context.
    """
    layout = _titled(processor, question, title, context, search_title=search_title)
    if len(layout.context.starts):
        backwards = processor.tokenizer.truncation_side == "left"
        yield from _cut(layout, length, overlap, backwards=backwards, advice="Shorten the question or the title")


def window_padding(processor: TextProcessor) -> dict[str, Padding]:
    """What pads shorter windows of a batch, for `Task.padded`; `"roles"` among them.

    It goes to the right, whatever side the tokenizer pads on, so that a token's position does not depend on its
    neighbours. A model that is not told what is padding takes windows of one length alone.
    """
    if "attention_mask" not in processor.input_names:
        return {}
    paddings = {name: Padding(padding.value, padding.max_length) for name, padding in processor.padding.items()}
    return {**paddings, "roles": Padding(NEVER, processor.max_length)}


@dataclass(frozen=True)
class _TokenLayout:
    """A question and a context in one sequence: what stands before the context, the context, what stands after it.

    Attributes:
        ids: of the whole sequence.
        type_ids: the segment of each token.
        roles: of each token.
        head: the places of the tokens before the context, which every window has.
        first: the place of the context's first token.
        tail: the places of those after it.
        context: the context.
        names: the model's inputs.
        title: what stands before the context.
    """

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    roles: NDArray[np.uint8]
    head: NDArray[np.int64]
    first: int
    tail: NDArray[np.int64]
    context: Context
    names: tuple[str, ...]
    title: Context | None = None

    def window(self, begin: int, end: int) -> Window:
        """The window of the context's tokens from `begin` to before `end`."""
        middle = np.arange(self.first + begin, self.first + end)
        chosen = np.concatenate([self.head, middle, self.tail])
        values: dict[str, Any] = {
            "input_ids": self.ids[chosen],
            "token_type_ids": self.type_ids[chosen],
            "attention_mask": np.ones(len(chosen), np.int64),
        }
        inputs = {name: torch.from_numpy(values[name]) for name in self.names}
        at, roles = len(self.head), self.roles[chosen]
        if begin:  # what of the head is searched is searched once, with the first window
            roles[:at][roles[:at] == CONTEXT] = NEVER
        return Window(inputs, torch.from_numpy(roles), self.context, begin, end, at, self.title)


def _pair(processor: TextProcessor, question: str, context: str, question_length: int | None) -> _TokenLayout:
    """The tokenizer's own pair of the two; the context may hold the answer, the classification token that none is."""
    asked_first = processor.tokenizer.padding_side == "right"
    encoded = processor.encode(*((question, context) if asked_first else (context, question)))
    which = np.array([-1 if i is None else i for i in encoded.sequence_ids])
    (of_context,) = (which == int(asked_first)).nonzero()
    (of_question,) = (which == int(not asked_first)).nonzero()
    for name, positions in (("question", of_question), ("context", of_context)):
        if not len(positions):
            raise InputError(f"the {name} has no words: expected a text that is not blank", code="empty-text")
    kept = np.ones(len(which), bool)
    kept[of_question[question_length:]] = question_length is None
    first, end = int(of_context[0]), int(of_context[-1]) + 1
    head, tail = kept[:first].nonzero()[0], end + kept[end:].nonzero()[0]
    ids, outside = np.array(encoded.ids), np.concatenate([head, tail])
    special = outside[ids[outside] == processor.tokenizer.cls_token_id]
    roles = np.full(len(ids), NEVER, np.uint8)
    roles[special] = COUNTED
    roles[first:end] = CONTEXT
    nothing = 0 if asked_first else int(special[-1]) if len(special) else 0
    if roles[nothing] == COUNTED:
        roles[nothing] = NOTHING
    found_context = _context(context, encoded, first, end)
    return _TokenLayout(ids, np.array(encoded.type_ids), roles, head, first, tail, found_context, processor.input_names)


def _titled(processor: TextProcessor, question: str, title: str, context: str, *, search_title: bool) -> _TokenLayout:
    """The tokenizer's pair of question and title, and the context's tokens after it, without an end."""
    before, text = processor.encode(question, title), processor.encode(context, special_tokens=False)
    if 0 not in before.sequence_ids:
        raise InputError("the question has no words: expected a text that is not blank", code="empty-text")
    first, count = len(before), before.sequence_ids.count(1)
    ids = np.array([*before.ids, *text.ids])
    roles = np.full(len(ids), NEVER, np.uint8)
    roles[first - count - 1 if search_title else first :] = CONTEXT
    return _TokenLayout(
        ids,
        np.array([*before.type_ids, *text.type_ids]),
        roles,
        np.arange(first),
        first,
        np.arange(0),
        _context(context, text, 0, len(text)),
        processor.input_names,
        _context(title, before, first - count - 1, first - 1),
    )


def _cut(layout: _TokenLayout, length: int, overlap: int | None, *, backwards: bool, advice: str) -> Iterator[Window]:
    """The windows of a sequence."""
    room = length - len(layout.head) - len(layout.tail)
    overlap = min(OVERLAP, max(0, room // 2)) if overlap is None else overlap
    count = len(layout.context.starts)
    if count > room and room <= overlap:
        raise InputError(
            f"the question and the special tokens leave {max(0, room)} of a window's {length} tokens to the context, "
            f"of which neighbours share {overlap}: expected more room. {advice}, raise max_seq_len=, or lower "
            "doc_stride=",
            code="question-too-long",
        )
    for begin, end in _stretches(count, room, room - overlap, backwards=backwards):
        yield layout.window(begin, end)


def _context(text: str, encoded: Encoded, first: int, end: int) -> Context:
    offsets = np.array(encoded.offsets[first:end], np.int64).reshape(-1, 2)
    words = np.array([-1 if word is None else word for word in encoded.word_ids[first:end]], np.int64)
    if not len(words):
        return Context(text, *(np.zeros(0, np.int64) for _ in range(4)))
    begins = np.flatnonzero(np.concatenate([[True], words[1:] != words[:-1]]))
    run = np.searchsorted(begins, np.arange(len(words)), side="right") - 1
    starts, ends = begins[run], np.append(begins[1:], len(words))[run] - 1
    starts, ends = np.where(words < 0, -1, starts), np.where(words < 0, -1, ends)
    return Context(text, offsets[:, 0].copy(), offsets[:, 1].copy(), starts, ends)


def _stretches(count: int, room: int, step: int, *, backwards: bool) -> Iterator[tuple[int, int]]:
    """Stretches of `room` of `count` tokens, one every `step`; the last one met may be shorter."""
    if count <= room:
        yield 0, count
        return
    for passed in range(0, count, step):
        begin, end = passed, min(passed + room, count)
        yield (count - end, count - begin) if backwards else (begin, end)
        if end == count:
            return
