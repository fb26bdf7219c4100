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
"""The roles of a window's tokens, for a search of spans: no part of it; counted in the normalisation, but in no span;
the same, and a span of this token alone says that there is no answer; a token of the context."""


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
    """

    inputs: dict[str, Tensor]
    roles: Tensor
    context: Context
    begin: int
    end: int
    at: int

    def characters(
        self, first: NDArray[np.int64], last: NDArray[np.int64], *, whole_words: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The characters of the context that spans of the window's tokens stand for.

        Args:
            first: `(K,)`, the position in the window of each span's first token, one of the context.
            last: `(K,)`, that of its last token.
            whole_words: whether to widen a span to whole words; as far as they are in the window, and where both its
                ends lie in words.

        Returns:
            `(K,)` int64 first characters, and `(K,)` int64 characters after the last ones.
        """
        first, last = first - self.at + self.begin, last - self.at + self.begin
        if whole_words:
            context = self.context
            known = (context.word_starts[first] >= 0) & (context.word_ends[last] >= 0)
            first = np.where(known, np.maximum(context.word_starts[first], self.begin), first)
            last = np.where(known, np.minimum(context.word_ends[last], self.end - 1), last)
        return self.context.starts[first], self.context.ends[last]


def windows(
    processor: TextProcessor,
    question: str,
    context: str,
    *,
    length: int,
    overlap: int,
    question_length: int | None = None,
) -> Iterator[Window]:
    """Lays a question and a context out in windows, as the checkpoint's tokenizer pairs two texts.

    The question comes first, or second where the tokenizer pads on the left. Neighbouring windows share `overlap`
    tokens of the context; a context that fits gives one window.

    Args:
        processor: the checkpoint's, with a fast tokenizer.
        question: what is asked, the same in every window.
        context: the text to be searched.
        length: how many tokens a window has at the most, special ones included.
        overlap: how many of the context's tokens neighbouring windows share.
        question_length: how many tokens of the question are kept; None for all.

    Raises:
        InputError: `empty-text`, a text has no tokens; `question-too-long`, too little room is left for the context.
    """
    asked_first = processor.tokenizer.padding_side == "right"
    pair = (question, context) if asked_first else (context, question)
    tokens = _Layout(processor.encode(*pair), processor, context, asked_first, question_length)
    room = length - len(tokens.head) - len(tokens.tail)
    count = len(tokens.context.starts)
    if count > room and room <= overlap:
        raise InputError(
            f"the question and the special tokens leave {max(0, room)} of a window's {length} tokens to the context, "
            f"of which neighbours share {overlap}: expected more room. Shorten the question or set max_question_len=, "
            "raise max_seq_len=, or lower doc_stride=",
            code="question-too-long",
        )
    backwards = processor.tokenizer.truncation_side == "left"
    for begin, end in _stretches(count, room, room - overlap, backwards=backwards):
        yield tokens.window(begin, end)


def window_padding(processor: TextProcessor) -> dict[str, Padding]:
    """What fills up shorter windows of a batch, for `Task.padded`; `"roles"` among them.

    It goes to the right, on whichever side the tokenizer pads: a token's place does not depend on its neighbours then.
    A model that is not told what is filling takes windows of one length alone.
    """
    if "attention_mask" not in processor.input_names:
        return {}
    known = {name: Padding(padding.value, padding.most) for name, padding in processor.padding.items()}
    return {**known, "roles": Padding(NEVER, processor.most)}


class _Layout:
    """A question and a context in one sequence: what stands before the context, the context, what stands after it."""

    def __init__(
        self, encoded: Encoded, processor: TextProcessor, text: str, asked_first: bool, question_length: int | None
    ) -> None:
        which = np.array([-1 if i is None else i for i in encoded.sequence_ids])
        (of_context,) = (which == int(asked_first)).nonzero()
        (of_question,) = (which == int(not asked_first)).nonzero()
        for name, found in (("question", of_question), ("context", of_context)):
            if not len(found):
                raise InputError(f"the {name} has no words: expected a text that is not blank", code="empty-text")
        kept = np.ones(len(which), bool)
        kept[of_question[question_length:]] = question_length is None
        first, last = int(of_context[0]), int(of_context[-1])
        before, after = kept[:first].nonzero()[0], last + 1 + kept[last + 1 :].nonzero()[0]
        self._encoded, self._names = encoded, processor.input_names
        self._ids, self._type_ids = np.array(encoded.ids), np.array(encoded.type_ids)
        self._cls, self._asked_first = processor.tokenizer.cls_token_id, asked_first
        self.head, self.tail, self._first = before, after, first
        self.context = _context(text, encoded, first, last + 1)

    def window(self, begin: int, end: int) -> Window:
        """The window of the context's tokens from `begin` to before `end`."""
        middle = np.arange(self._first + begin, self._first + end)
        chosen = np.concatenate([self.head, middle, self.tail])
        values: dict[str, Any] = {
            "input_ids": self._ids[chosen],
            "token_type_ids": self._type_ids[chosen],
            "attention_mask": np.ones(len(chosen), np.int64),
        }
        inputs = {name: torch.from_numpy(values[name]) for name in self._names}
        at = len(self.head)
        return Window(inputs, self._roles(values["input_ids"], at, at + len(middle)), self.context, begin, end, at)

    def _roles(self, ids: NDArray[np.int64], at: int, until: int) -> Tensor:
        """The context may hold the answer; the classification token says that there is none, by its own span."""
        roles = np.full(len(ids), NEVER, np.uint8)
        (special,) = (ids == self._cls).nonzero()
        roles[special] = COUNTED
        roles[at:until] = CONTEXT
        nothing = 0 if self._asked_first else int(special[-1]) if len(special) else 0
        if roles[nothing] == COUNTED:
            roles[nothing] = NOTHING
        return torch.from_numpy(roles)


def _context(text: str, encoded: Encoded, first: int, end: int) -> Context:
    offsets = np.array(encoded.offsets[first:end], np.int64).reshape(-1, 2)
    words = np.array([-1 if word is None else word for word in encoded.word_ids[first:end]], np.int64)
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
