"""Measures of retrieval and of answers: how good a ranking, or what was read from it, is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.measuring.answer_matching import AnswerPattern, Match, exact_match, f1_score
from sensorium.retrieval.measuring.judgments import check_kinds, found_ids, relevant_grades
from sensorium.tasks.options import Count, checked

Ranked = Sequence[Sequence[int | str]] | NDArray[Any]
"""For each of Q queries the ids that were found, best first; -1 and "" stand for none, as `Index.search` has it."""

Relevant = Sequence[Collection[int | str]]
"""For each of Q queries the ids that answer it, at least one; a mapping gives each its grade, above 0 if it does."""

Gain = Literal["linear", "exponential"]

CUTS = (1, 5, 20, 100)


def top_k_accuracy(
    passages: Sequence[Sequence[str]], answers: Sequence[Sequence[str]], *, k: int, match: Match = "string"
) -> float:
    """Top-k retrieval accuracy: the share of questions with an answer in one of their k best passages.

    Source: Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering" (EMNLP 2020), section 5;
    `has_answer` says when a passage holds an answer.

    Args:
        passages: the texts that were found for each of Q questions, best first; there may be fewer than k.
        answers: each question's answers, at least one.
        k: how many passages to look at.
        match: "string" or "regex", as in `has_answer`.

    Returns:
        In [0, 1].

    Raises:
        InputError: `not-text`, `empty-text`, `no-answers`, `bad-pattern`, with the question's index.
        OptionError: an invalid k, no questions, or passages and answers of different numbers.
    """
    k = checked("k", k, Count)
    return float(np.mean(_first_answers(passages, answers, k, match) < k))


def recall_at_k(ranked: Ranked, relevant: Relevant, *, k: int) -> float:
    """Recall@k: the mean over queries of |relevant among the k best| / |relevant|.

    With one relevant id a query it is the share of queries that find it. Source: Manning, Raghavan and Schütze,
    "Introduction to Information Retrieval" (2008), section 8.4.

    Args:
        ranked: ids that were found for each query, best first, none twice.
        relevant: the right ids of each query; of a mapping those whose grade is above 0.
        k: how many places to look at.

    Returns:
        In [0, 1].

    Raises:
        InputError: `bad-ranking`, an id twice; `no-relevant`, a query without a relevant id; `bad-grade`; `bad-id`,
            relevant ids that are texts where those found are numbers, or the other way round, which never meet.
        OptionError: an invalid k, no queries, or `ranked` and `relevant` of different numbers.
    """
    k = checked("k", k, Count)
    gains, ideal = _gains(ranked, relevant)
    recalls = [np.count_nonzero(gain[:k]) / np.count_nonzero(best) for gain, best in zip(gains, ideal, strict=True)]
    return float(np.mean(recalls))


def mean_reciprocal_rank(ranked: Ranked, relevant: Relevant, *, k: int | None = None) -> float:
    """MRR: the mean over queries of 1 / rank of the first relevant id, ranks from 1, 0 where there is none.

    Source: Voorhees, "The TREC-8 Question Answering Track Report" (1999).

    Args:
        ranked: as in `recall_at_k`.
        relevant: as in `recall_at_k`.
        k: how many places to look at (MRR@k); None for all.

    Returns:
        In [0, 1].

    Raises:
        InputError, OptionError: as `recall_at_k`.
    """
    k = checked("k", k, Count | None)
    gains, _ = _gains(ranked, relevant)
    first = [np.flatnonzero(gain[:k])[:1] for gain in gains]
    return float(np.mean([1 / (hit[0] + 1) if len(hit) else 0.0 for hit in first]))


def ndcg(ranked: Ranked, relevant: Relevant, *, k: int | None = None, gain: Gain = "linear") -> float:
    """nDCG: the mean over queries of DCG / the DCG of the best order, with DCG = Σ gain(grade) / log2(1 + rank).

    Sources: Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques" (TOIS 2002), with linear gain,
    as trec_eval and scikit-learn have it; Burges et al., "Learning to Rank using Gradient Descent" (ICML 2005), with
    gain 2^grade - 1. With grades of 0 and 1 the two are one.

    Args:
        ranked: as in `recall_at_k`.
        relevant: as in `recall_at_k`; ids that are not in a mapping have grade 0, those in another collection 1.
        k: how many places to look at (nDCG@k), of the best order, too; None for all.
        gain: "linear" for the grade itself, "exponential" for 2^grade - 1.

    Returns:
        In [0, 1].

    Raises:
        InputError, OptionError: as `recall_at_k`; OptionError for another gain.
    """
    k = checked("k", k, Count | None)
    checked("gain", gain, Gain)
    gains, ideal = _gains(ranked, relevant)
    if gain == "exponential":
        gains, ideal = [np.exp2(row) - 1 for row in gains], [np.exp2(row) - 1 for row in ideal]
    pairs = zip(gains, ideal, strict=True)
    return float(np.mean([_discounted(row_gains[:k]) / _discounted(best[:k]) for row_gains, best in pairs]))


def evaluate(
    *,
    ranked: Ranked | None = None,
    relevant: Relevant | None = None,
    passages: Sequence[Sequence[str]] | None = None,
    answers: Sequence[Sequence[str]] | None = None,
    predictions: Sequence[str] | None = None,
    k: int | Sequence[int] = CUTS,
    match: Match = "string",
) -> dict[str, float]:
    """All measures that the given data allow, for the same Q questions.

    Args:
        ranked: ids that were found for each question, best first; with `relevant`.
        relevant: the right ids of each question; with `ranked`.
        passages: texts that were found for each question, best first; with `answers`.
        answers: each question's right answers.
        predictions: the answer that was given to each question; with `answers`.
        k: how many places to look at, one number or several.
        match: how answers are looked for in passages, as in `has_answer`.

    Returns:
        By name, each in [0, 1]: of ids "recall@k", "mrr@k" and "ndcg@k" (linear gain), of passages "accuracy@k", for
        each k; of predictions "exact_match" and "f1".

    Raises:
        InputError, OptionError: as the functions of these names; OptionError also where one half of a pair is missing.
    """
    cuts = [checked("k", cut, Count) for cut in (k if isinstance(k, (Sequence, np.ndarray)) else [k])]
    _check_pairs(ranked, relevant, passages, answers, predictions)
    if (ranked is not None or passages is not None) and not cuts:
        raise OptionError("expected at least one k, got none")
    measures: dict[str, float] = {}
    if passages is not None and answers is not None:
        first = _first_answers(passages, answers, max(cuts), match)
        measures |= {f"accuracy@{cut}": float(np.mean(first < cut)) for cut in cuts}
    if ranked is not None and relevant is not None:
        for name, measure in (("recall", recall_at_k), ("mrr", mean_reciprocal_rank), ("ndcg", ndcg)):
            measures |= {f"{name}@{cut}": measure(ranked, relevant, k=cut) for cut in cuts}
    if predictions is not None and answers is not None:
        measures |= {"exact_match": exact_match(predictions, answers), "f1": f1_score(predictions, answers)}
    return measures


def _first_answers(
    passages: Sequence[Sequence[str]], answers: Sequence[Sequence[str]], k: int, match: Match
) -> NDArray[np.int64]:
    """`(Q,)`, the place of the first passage with an answer, from 0; `k` where none of so many has."""
    _check_counts(passages=passages, answers=answers)
    first = np.full(len(passages), k, np.int64)
    for i, (texts, right) in enumerate(zip(passages, answers, strict=True)):
        if isinstance(texts, (str, bytes)):
            raise InputError(
                "expected a list of a question's passages, got one text; put it in a list", code="not-text", index=i
            )
        try:
            pattern = AnswerPattern(right, match=match)
            first[i] = next((position for position, text in enumerate(texts[:k]) if pattern.is_in(text)), k)
        except InputError as error:
            raise InputError(error.message, code=error.code, index=i) from error
    return first


def _gains(ranked: Ranked, relevant: Relevant) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """For each query the grades of what was found, in its order, and those of all that is relevant, largest first."""
    _check_counts(ranked=ranked, relevant=relevant)
    gains, ideal = [], []
    for i, (ids, right) in enumerate(zip(ranked, relevant, strict=True)):
        found, grades = found_ids(ids, i), relevant_grades(right, i)
        check_kinds(found, grades, i)
        gains.append(np.array([grades.get(item, 0.0) for item in found], np.float64))
        ideal.append(np.array(sorted(grades.values(), reverse=True), np.float64))
    return gains, ideal


def _discounted(gains: NDArray[np.float64]) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def _check_counts(**named: Any) -> None:
    counts = {name: len(values) for name, values in named.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise OptionError(f"expected {' and '.join(counts)} for the same number of queries, at least one, got {counts}")


def _check_pairs(ranked: Any, relevant: Any, passages: Any, answers: Any, predictions: Any) -> None:
    if (ranked is None) != (relevant is None):
        raise OptionError("ranked and relevant come together, got one of them")
    if answers is None and (passages is not None or predictions is not None):
        raise OptionError("passages and predictions are measured by answers; pass answers=")
    if answers is not None and passages is None and predictions is None:
        raise OptionError("answers are for passages or predictions; pass passages= or predictions=")
    measured = {"ranked": ranked, "passages": passages, "predictions": predictions}
    if all(value is None for value in measured.values()):
        raise OptionError(f"expected something to measure: one of {', '.join(measured)}")
    _check_counts(**{name: value for name, value in measured.items() if value is not None})
