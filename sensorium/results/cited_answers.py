"""Answers to a question, read in passages, each with its place there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.kinds import BOOL, FLOAT32, INT64, OFFSET, PASSAGE, TEXT, lists
from sensorium.results.rows import Rows
from sensorium.results.tables import flatten, plain


class CitedAnswers(Rows):
    """Answers to one question, best first, with the passages that they were read in.

    Without an answer it is empty, and false: because there was no passage to read, or because a reader that writes says
    that the passages do not contain it (`refused`).

    Attributes:
        answers: `(K,)` str.
        citations: for each answer the numbers of the passages that it cites, from 1: `passages[n - 1]`.
        passages: what was read, in the order in which it was handed over; dicts with `text`, `title`, `source`, `id`,
            `start` and `end`, and what else they came with.
        scores: `(K,)` float32 in [0, 1], or None from a reader that writes and scores nothing.
        span_scores: `(K,)` float32, the sum of the logits of an answer's first and last token, or None.
        relevance_scores: `(K,)` float32, DPR's logit of the passage, or None.
        starts: `(K,)` int64, where each answer begins in its passage's text, in characters; -1 where it is not there
            (but in the title); None if it was written.
        ends: `(K,)` int64, the character after its last one, -1 or None likewise.
        refused: whether the reader wrote that the passages do not hold the answer, or nothing at all.
        index: the position of the input among the call's inputs.
    """

    __slots__ = (
        "answers",
        "citations",
        "ends",
        "index",
        "passages",
        "refused",
        "relevance_scores",
        "scores",
        "span_scores",
        "starts",
    )

    columns = (
        Structs(
            "answers",
            Field("answer", TEXT, "answers"),
            Field("score", FLOAT32, "scores", optional=True),
            Field("span_score", FLOAT32, "span_scores", optional=True),
            Field("relevance_score", FLOAT32, "relevance_scores", optional=True),
            Field("start", OFFSET, "starts", optional=True),
            Field("end", OFFSET, "ends", optional=True),
            Field("citations", lists(INT64), "citations"),
        ),
        Scalar("passages", lists(PASSAGE)),
        Scalar("refused", BOOL),
    )

    def __init__(
        self,
        answers: Sequence[str] = (),
        citations: Sequence[Sequence[int]] = (),
        passages: Sequence[Mapping[str, Any]] = (),
        *,
        scores: Any = None,
        span_scores: Any = None,
        relevance_scores: Any = None,
        starts: Any = None,
        ends: Any = None,
        refused: bool = False,
        index: int = 0,
    ) -> None:
        """Checks that what is given agrees.

        Raises:
            ValueError: lengths differ, a citation is of no passage, or there are starts without ends.
        """
        self.answers: NDArray[np.str_] = np.array(answers, dtype=np.str_)
        self.citations: list[list[int]] = [list(numbers) for numbers in citations]
        self.passages: list[dict[str, Any]] = [dict(passage) for passage in passages]
        self.scores: NDArray[np.float32] | None = _array(scores, np.float32)
        self.span_scores: NDArray[np.float32] | None = _array(span_scores, np.float32)
        self.relevance_scores: NDArray[np.float32] | None = _array(relevance_scores, np.float32)
        self.starts: NDArray[np.int64] | None = _array(starts, np.int64)
        self.ends: NDArray[np.int64] | None = _array(ends, np.int64)
        self.refused, self.index = refused, index
        if (starts is None) != (ends is None):
            raise ValueError("starts and ends come together, got only one of them")
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        lengths = {name: len(array) for name, array in arrays.items() if array is not None}
        lengths |= {"answers": len(self.answers), "citations": len(self.citations)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"answers, citations, scores and offsets must be of one length, got {lengths}")
        wrong = [n for numbers in self.citations for n in numbers if not 1 <= n <= len(self.passages)]
        if wrong:
            raise ValueError(f"citations are numbers from 1 to {len(self.passages)}, got {wrong}")

    @property
    def read(self) -> int:
        """How many passages were read."""
        return len(self.passages)

    def __len__(self) -> int:
        return len(self.answers)

    def _take(self, key: Any) -> CitedAnswers:
        kept = np.arange(len(self))[key].tolist()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return CitedAnswers(
            self.answers[kept].tolist(),
            [self.citations[i] for i in kept],
            self.passages,
            **{name: None if array is None else array[kept] for name, array in arrays.items()},
            refused=self.refused,
            index=self.index,
        )

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, CitedAnswers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        rows = [line if len(line) <= 100 else line[:99] + "…" for line in self.lines()[:8]]
        more = f", and {len(self) - 8} more" if len(self) > 8 else ""
        return f"CitedAnswers({', '.join(map(repr, rows))}{more}, read={self.read}, index={self.index})"

    def lines(self) -> list[str]:
        """Short texts for a terminal: one answer each, with its score and the titles of what it cites."""
        if not len(self):
            return ["no answer in the passages" if self.refused else "no answer"]
        lines = []
        for row, numbers in zip(self, self.citations, strict=True):
            score = "" if row["score"] is None else f" {row['score']:.4f}"
            cited = "; ".join(self._name(number) for number in numbers)
            lines.append(f"{row['answer']}{score}" + (f" ({cited})" if cited else ""))
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The answers, best first, and what was read.

        Returns:
            `{"answers": [{"answer", "score", "span_score", "relevance_score", "start", "end", "document_start",
            "document_end", "passage", "citations"}, …], "refused", "passages"}`, None for what there is not.
        """
        return {
            "answers": [plain(self._row(i)) for i in range(len(self))],
            "refused": self.refused,
            "passages": [plain(passage) for passage in self.passages],
        }

    def records(self) -> list[dict[str, Any]]:
        """One flat dict for each answer; that of its first passage is in it."""
        return [flatten(plain(self._row(i))) for i in range(len(self))]

    def _row(self, at: int) -> dict[str, Any]:
        numbers = self.citations[at]
        passage = self.passages[numbers[0] - 1] if numbers else None
        start, end = (None if a is None or a[at] < 0 else int(a[at]) for a in (self.starts, self.ends))
        before = _before(passage)
        return {
            "answer": str(self.answers[at]),
            "score": _number(self.scores, at),
            "span_score": _number(self.span_scores, at),
            "relevance_score": _number(self.relevance_scores, at),
            "start": start,
            "end": end,
            "document_start": None if start is None or before is None else before + start,
            "document_end": None if end is None or before is None else before + end,
            "passage": None if passage is None else dict(passage),
            "citations": list(numbers),
        }

    def _name(self, number: int) -> str:
        passage = self.passages[number - 1]
        return str(passage.get("title") or passage.get("source") or f"passage {number}")


_ARRAYS = ("scores", "span_scores", "relevance_scores", "starts", "ends")


def _array(values: Any, dtype: Any) -> Any:
    return None if values is None else np.array(values, dtype=dtype)


def _number(values: NDArray[np.float32] | None, at: int) -> float | None:
    return None if values is None else float(values[at])


def _before(passage: Mapping[str, Any] | None) -> int | None:
    """Where a passage's text begins in its document, if its characters are those of the document."""
    if passage is None or passage.get("start") is None or passage.get("end") is None:
        return None
    start, end = int(passage["start"]), int(passage["end"])
    return start if end - start == len(str(passage.get("text") or "")) else None
