"""A question with the passages to be read, as a call or a search gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.errors import InputError


@dataclass(frozen=True)
class Asked:
    """A question with the passages to be read.

    Attributes:
        question: what is asked.
        passages: dicts with `id`, `text`, `title`, `source`, `start`, `end`, and what else they came with.
        scores: of a search, one a passage; None where they come from none.
    """

    question: str
    passages: tuple[dict[str, Any], ...]
    scores: tuple[float, ...] | None = None


def read_asked(raw: Any, *, max_passages: int | None = None) -> Asked:
    """Checks a raw input.

    Args:
        raw: a mapping with `question`, `passages` and maybe `scores`; what else it holds is left alone. A passage is a
            text, a mapping with `text`, or a `Passage`; one alone needs no list.
        max_passages: how many of the passages to take, the first ones; None for all.

    Raises:
        InputError: `unsupported-type`, `no-question`, `no-passages`, `not-text`, `empty-text` or `bad-scores`.
    """
    if not isinstance(raw, Mapping):
        raise InputError(
            f'expected a mapping {{"question": …, "passages": […]}}, got {type(raw).__name__}', code="unsupported-type"
        )
    missing = [name for name in ("question", "passages") if raw.get(name) is None]
    if missing:
        unasked = missing[0] == "question"
        raise InputError(
            f"expected the keys question and passages, got {', '.join(map(str, raw)) or 'none'}; {missing[0]} missing",
            code="no-question" if unasked else "no-passages",
        )
    question = _text(raw["question"], "the question")
    sources = raw["passages"]
    if isinstance(sources, (str, Mapping)) or hasattr(sources, "to_dict"):
        sources = [sources]
    if not isinstance(sources, Sequence) or isinstance(sources, (bytes, bytearray)):
        raise InputError(f"passages are a list of texts or mappings, got {type(sources).__name__}", code="not-text")
    scores = None if raw.get("scores") is None else _scores(raw["scores"], len(sources))
    passages = tuple(_passage(source, number) for number, source in enumerate(sources[:max_passages], 1))
    return Asked(question, passages, None if scores is None else scores[:max_passages])


def _passage(source: Any, number: int) -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys(("id", "text", "title", "source", "start", "end"))
    if isinstance(source, str):
        passage = {**blank, "text": source}
    else:
        fields = source.to_dict() if hasattr(source, "to_dict") else source
        if not isinstance(fields, Mapping):
            raise InputError(
                f"passage {number} is a text (str) or a mapping with one, got {type(source).__name__}", code="not-text"
            )
        passage = {**blank, **fields}
    passage["text"] = _text(passage["text"], f"passage {number}")
    passage["title"] = passage["title"] or ""
    if not isinstance(passage["title"], str):
        raise InputError(
            f"the title of passage {number} is a text (str), got {type(passage['title']).__name__}", code="not-text"
        )
    return passage


def _text(text: Any, noun: str) -> str:
    if not isinstance(text, str):
        raise InputError(f"{noun} is a text (str), got {type(text).__name__}", code="not-text")
    if not text.strip():
        raise InputError(f"{noun} is empty: expected a text that is not blank", code="empty-text")
    return text


def _scores(values: Any, count: int) -> tuple[float, ...]:
    try:
        scores = tuple(float(score) for score in values)
    except (TypeError, ValueError) as error:
        raise InputError(f"scores are numbers, one a passage, got {values!r}", code="bad-scores") from error
    if len(scores) != count or not all(map(math.isfinite, scores)):
        raise InputError(
            f"scores are finite numbers, one a passage: got {len(scores)} for {count} passages", code="bad-scores"
        )
    return scores
