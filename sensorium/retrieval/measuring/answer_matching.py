"""Whether an answer is right, and whether a passage holds it."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.lexical.words import answer_tokens

Match = Literal["string", "regex"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def has_answer(text: str, answers: Sequence[str], *, match: Match = "string") -> bool:
    """Whether a passage holds one of a question's answers.

    Source: `has_answer` of DPR's `dpr/data/qa_validation.py` (Karpukhin et al., "Dense Passage Retrieval for
    Open-Domain Question Answering", EMNLP 2020), after DrQA (Chen et al., 2017).

    Args:
        text: the passage.
        answers: at least one.
        match: "string" looks for an answer's tokens, one after the other, among the passage's, whatever their case:
            `words.answer_tokens`. "regex" takes answers for regular expressions, and searches the passage's Unicode NFD
            for them, whatever their case.

    Raises:
        InputError: `not-text`; `empty-text`, an answer without a token; `bad-pattern`, an answer that is not a regular
            expression (DPR counts that as a miss).
        OptionError: another `match`.
    """
    return AnswerPattern(answers, match=match).is_in(text)


class AnswerPattern:
    """The answers of one question, ready to be looked for in many passages, as `has_answer` does in one."""

    def __init__(self, answers: Sequence[str], *, match: Match = "string") -> None:
        """Raises the same errors as `has_answer`."""
        _check_answers(answers)
        if match not in ("string", "regex"):
            raise OptionError(f"match is string or regex, got {match!r}")
        for answer in answers:
            if not (answer_tokens(answer) if match == "string" else answer.strip()):
                raise InputError(f"expected answers with words, got {answer!r}", code="empty-text")
        self._sought = [_joined(answer) for answer in answers] if match == "string" else []
        self._patterns = [_compiled(answer) for answer in answers] if match == "regex" else []

    def is_in(self, text: str) -> bool:
        """Whether a passage holds one of the answers.

        Raises:
            InputError: `not-text`.
        """
        if not isinstance(text, str):
            raise InputError(f"expected a passage (str), got {type(text).__name__}", code="not-text")
        if self._patterns:
            decomposed = unicodedata.normalize("NFD", text)
            return any(pattern.search(decomposed) for pattern in self._patterns)
        tokens = _joined(text)
        return any(sought in tokens for sought in self._sought)


def exact_match(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """EM: the share of questions whose prediction is one of their answers, both normalised.

    `normalize_answer` says how. Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text"
    (EMNLP 2016), and its evaluation script.

    Args:
        predictions: Q answers; "" for none.
        answers: the Q questions' right answers, at least one each.

    Returns:
        In [0, 1].

    Raises:
        InputError: `not-text`; `no-answers`, a question without answers.
        OptionError: no questions, or different numbers of predictions and answers.
    """
    rows = _paired(predictions, answers)
    return sum(_best_match(prediction, right) for prediction, right in rows) / len(rows)


def f1_score(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """F1: how far predictions and answers share their words, the mean over questions of the best of their answers.

    For one pair with s words in common, repetitions counted, of p predicted and a right ones: 2s / (p + a), which is
    the harmonic mean of precision s/p and recall s/a. Where one of them has no words it is 1 if neither has, else 0, as
    in SQuAD 2.0. Words are those of `normalize_answer`; source as for `exact_match`.

    Args:
        predictions: Q answers; "" for none.
        answers: the Q questions' right answers, at least one each.

    Returns:
        In [0, 1].

    Raises:
        InputError, OptionError: as `exact_match`.
    """
    rows = _paired(predictions, answers)
    return sum(max(_overlap(prediction, answer) for answer in right) for prediction, right in rows) / len(rows)


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, without the articles a, an, the, words one space apart: SQuAD's own."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _joined(text: str) -> str:
    """The tokens between line breaks, which no token holds: a sequence of them is a part of the string."""
    return "\n" + "\n".join(answer_tokens(text)) + "\n"


def _compiled(answer: str) -> re.Pattern[str]:
    try:
        return re.compile(unicodedata.normalize("NFD", answer), re.IGNORECASE | re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(
            f'expected a regular expression, got {answer!r:.200} ({error}). Correct it, or use match="string"',
            code="bad-pattern",
        ) from error


def _check_answers(answers: Sequence[str]) -> None:
    if isinstance(answers, (str, bytes)):
        raise InputError("expected a list of a question's answers, got one text; put it in a list", code="not-text")
    if not len(answers):
        raise InputError("expected at least one answer to the question, got none", code="no-answers")
    for answer in answers:
        if not isinstance(answer, str):
            raise InputError(f"expected answers (str), got {type(answer).__name__} among them", code="not-text")


def _paired(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    if isinstance(predictions, (str, bytes)) or len(predictions) != len(answers) or not len(predictions):
        counts = "one text" if isinstance(predictions, (str, bytes)) else f"{len(predictions)} and {len(answers)}"
        raise OptionError(
            f"expected predictions and answers for the same number of questions, at least one, got {counts}"
        )
    for i, (prediction, right) in enumerate(zip(predictions, answers, strict=True)):
        if not isinstance(prediction, str):
            raise InputError(
                f'expected a prediction (str, "" for none), got {type(prediction).__name__}', code="not-text", index=i
            )
        try:
            _check_answers(right)
        except InputError as error:
            raise InputError(error.message, code=error.code, index=i) from error
    return list(zip(predictions, answers, strict=True))


def _best_match(prediction: str, answers: Sequence[str]) -> bool:
    normal = normalize_answer(prediction)
    return any(normalize_answer(answer) == normal for answer in answers)


def _overlap(prediction: str, answer: str) -> float:
    ours, right = (normalize_answer(text).split() for text in (prediction, answer))
    if not ours or not right:
        return float(ours == right)
    return 2 * (Counter(ours) & Counter(right)).total() / (len(ours) + len(right))
