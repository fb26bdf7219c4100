"""How much of an encoder's tokens sentences take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from sensorium.retrieval.reading.sentences import Sentence, find_words


class TokenCounter(Protocol):
    """What counts the tokens of passages: an `Encoder`.

    Attributes:
        limit: how many tokens it reads of a passage; None for any number.
    """

    @property
    def limit(self) -> int | None:
        """As above."""
        ...

    def count_tokens(self, passages: Sequence[Any]) -> list[int]:
        """How many tokens each text or pair `(title, text)` has for it, its own ones included."""
        ...


def in_tokens(text: str, encoder: TokenCounter, own: int, most: int, sentences: Sequence[Sentence]) -> list[Sentence]:
    """Sentences with their tokens instead of their words; those of too many in parts.

    Args:
        text: of which they are parts.
        encoder: counts.
        own: how many tokens it counts of "a", its own included.
        most: how many tokens a sentence has at most, unless it is a single word.
        sentences: with their words.
    """
    counts = encoder.count_tokens([text[each.start : each.end] for each in sentences]) if sentences else []
    weighed: list[Sentence] = []
    for sentence, count in zip(sentences, counts, strict=True):
        weight = max(1, count - own + 1)  # "a", with which the encoder's own were counted, has one
        words = find_words(text, sentence.start, sentence.end) if weight > most else []
        if len(words) < 2:
            weighed.append(replace(sentence, words=min(weight, most)))
            continue
        middle = len(words) // 2
        halves = [
            Sentence(words[0][0], words[middle - 1][1], middle, sentence.opens),
            Sentence(words[middle][0], words[-1][1], len(words) - middle, False),
        ]
        weighed += in_tokens(text, encoder, own, most, halves)
    return weighed
