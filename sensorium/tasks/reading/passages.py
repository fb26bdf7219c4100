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


def read_asked(raw: Any, *, most: int | None = None) -> Asked:
    """Checks a raw input.

    Args:
        raw: a mapping with `question`, `passages` and maybe `scores`; what else it holds is left alone. A passage is a
            text, a mapping with `text`, or a `Passage`; one alone needs no list.
        most: how many of the passages to take, the first ones; None for all.

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
    given = raw["passages"]
    if isinstance(given, (str, Mapping)) or hasattr(given, "to_dict"):
        given = [given]
    if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)):
        raise InputError(f"passages are a list of texts or mappings, got {type(given).__name__}", code="not-text")
    scores = None if raw.get("scores") is None else _scores(raw["scores"], len(given))
    passages = tuple(_passage(each, number) for number, each in enumerate(given[:most], 1))
    return Asked(question, passages, None if scores is None else scores[:most])


def _passage(given: Any, number: int) -> dict[str, Any]:
    known: dict[str, Any] = dict.fromkeys(("id", "text", "title", "source", "start", "end"))
    if isinstance(given, str):
        passage = {**known, "text": given}
    else:
        told = given.to_dict() if hasattr(given, "to_dict") else given
        if not isinstance(told, Mapping):
            raise InputError(
                f"passage {number} is a text (str) or a mapping with one, got {type(given).__name__}", code="not-text"
            )
        passage = {**known, **told}
    passage["text"] = _text(passage["text"], f"passage {number}")
    passage["title"] = passage["title"] or ""
    if not isinstance(passage["title"], str):
        raise InputError(
            f"the title of passage {number} is a text (str), got {type(passage['title']).__name__}", code="not-text"
        )
    return passage


def _text(text: Any, what: str) -> str:
    if not isinstance(text, str):
        raise InputError(f"{what} is a text (str), got {type(text).__name__}", code="not-text")
    if not text.strip():
        raise InputError(f"{what} is empty: expected a text that is not blank", code="empty-text")
    return text


def _scores(given: Any, count: int) -> tuple[float, ...]:
    try:
        scores = tuple(float(score) for score in given)
    except (TypeError, ValueError) as error:
        raise InputError(f"scores are numbers, one a passage, got {given!r}", code="bad-scores") from error
    if len(scores) != count or not all(map(math.isfinite, scores)):
        raise InputError(
            f"scores are finite numbers, one a passage: got {len(scores)} for {count} passages", code="bad-scores"
        )
    return scores
