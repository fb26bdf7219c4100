"""Answers to a question about a picture or a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.drawing import draw_bars, draw_lines
from sensorium.results.kinds import BOOL, FLOAT32, INT64, TEXT
from sensorium.results.rows import Rows

if TYPE_CHECKING:
    from PIL import Image


class Answers(Rows):
    """Answers to one question, best first.

    Attributes:
        answers: `(K,)` str.
        scores: `(K,)` float32 in [0, 1], or None from a model that writes its answer and scores none.
        starts: `(K,)` int64, where each answer begins in the context, in characters; None if it is not taken from one.
        ends: `(K,)` int64, the character after its last one, or None.
        single: whether `to_dict()` gives the answer itself where there is just one, and not a list of one.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("answers", "ends", "index", "scores", "single", "starts")

    columns = (
        Structs(
            "answers",
            Field("answer", TEXT, "answers"),
            Field("score", FLOAT32, "scores", optional=True),
            Field("start", INT64, "starts", optional=True),
            Field("end", INT64, "ends", optional=True),
        ),
        Scalar("single", BOOL),
    )

    def __init__(
        self,
        answers: Sequence[str],
        scores: Any = None,
        starts: Any = None,
        ends: Any = None,
        *,
        single: bool = False,
        index: int = 0,
    ) -> None:
        """Checks that what is given agrees in length.

        Raises:
            ValueError: the lengths differ, or there are starts without ends or ends without starts.
        """
        self.answers: NDArray[np.str_] = np.array(answers, dtype=np.str_)
        self.scores: NDArray[np.float32] | None = None if scores is None else np.array(scores, dtype=np.float32)
        self.starts: NDArray[np.int64] | None = None if starts is None else np.array(starts, dtype=np.int64)
        self.ends: NDArray[np.int64] | None = None if ends is None else np.array(ends, dtype=np.int64)
        self.single, self.index = single, index
        if (starts is None) != (ends is None):
            raise ValueError("starts and ends come together, got only one of them")
        arrays = {"answers": self.answers, "scores": self.scores, "starts": self.starts, "ends": self.ends}
        shapes = {name: array.shape for name, array in arrays.items() if array is not None}
        if len(set(shapes.values())) != 1 or self.answers.ndim != 1:
            raise ValueError(f"answers, scores, starts and ends must be of one length, got the shapes {shapes}")

    def __len__(self) -> int:
        return len(self.answers)

    def _take(self, key: Any) -> Answers:
        kept = [None if array is None else array[key] for array in (self.scores, self.starts, self.ends)]
        return Answers(self.answers[key].tolist(), *kept, single=self.single, index=self.index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Answers):
            return list(self) == list(other)
        return list(self) == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        shown = [answer if len(answer) <= 80 else answer[:79] + "…" for answer in self.answers[:8].tolist()]
        if self.scores is None:
            rows = ", ".join(map(repr, shown))
        else:
            rows = ", ".join(f"{a!r}: {score:.4g}" for a, score in zip(shown, self.scores.tolist(), strict=False))
        more = f", and {len(self) - 8} more" if len(self) > 8 else ""
        return f"Answers({{{rows}{more}}}, index={self.index})"

    def lines(self) -> list[str]:
        """Short texts for a terminal: one answer each, with its score where it has one."""
        scores = [""] * len(self) if self.scores is None else [f" {score:.4f}" for score in self.scores.tolist()]
        return [f"{answer}{score}" for answer, score in zip(self.answers.tolist(), scores, strict=True)] or [
            "no answer"
        ]

    def to_dict(self) -> list[dict[str, Any]] | dict[str, Any]:
        """The answers in Transformers' schema, best first, with those keys whose values are known.

        Returns:
            `[{"score": float, "start": int, "end": int, "answer": str}, …]`; where `single` is set and there is one
            answer, that dict itself.
        """
        rows = [self._row(i) for i in range(len(self))]
        return rows[0] if self.single and len(rows) == 1 else rows

    def plot(self, image: Any = None, *, most: int = 5) -> Image.Image:
        """Draws the best answers under the picture: as bars where they have scores, else as lines of text.

        Args:
            image: in any form that the pipeline takes; None for the answers alone.
            most: how many answers to draw at most.

        Returns:
            An RGB picture at least 240 px wide, taller than `image`.
        """
        from PIL import Image

        shown = self.answers.tolist()[:most]
        canvas = Image.new("RGB", (480, 1), "white") if image is None else image
        if self.scores is None:
            return draw_lines(canvas, shown)
        return draw_bars(canvas, shown, self.scores.tolist()[:most])

    def _row(self, at: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if self.scores is not None:
            row["score"] = float(self.scores[at])
        if self.starts is not None and self.ends is not None:
            row["start"], row["end"] = int(self.starts[at]), int(self.ends[at])
        row["answer"] = str(self.answers[at])
        return row
