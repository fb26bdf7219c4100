"""Class names with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Structs
from sensorium.results.drawing import draw_bars
from sensorium.results.kinds import FLOAT32, INT64, TEXT
from sensorium.results.rows import Rows
from sensorium.results.spectrogram import draw_spectrogram

if TYPE_CHECKING:
    from PIL import Image

SHOWN = 10
"""How many labels `repr` shows."""


class Labels(Rows):
    """Class names with their scores, best first.

    Attributes:
        labels: `(K,)` str, class names.
        scores: `(K,)` float32; probabilities in [0, 1] unless `function_to_apply="none"` asked for logits.
        ids: `(K,)` int64, the classes' positions in the checkpoint's `id2label`.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("ids", "index", "labels", "scores")

    columns = (
        Structs("labels", Field("label", TEXT, "labels"), Field("score", FLOAT32, "scores"), Field("id", INT64, "ids")),
    )

    def __init__(self, labels: Sequence[str], scores: Any, ids: Any = None, *, index: int = 0) -> None:
        """Checks that the three agree in length.

        Raises:
            ValueError: the lengths of `labels`, `scores` and `ids` differ.
        """
        self.labels: NDArray[np.str_] = np.asarray(labels, dtype=np.str_)
        self.scores: NDArray[np.float32] = np.asarray(scores, dtype=np.float32)
        self.ids: NDArray[np.int64] = np.asarray(range(len(labels)) if ids is None else ids, dtype=np.int64)
        self.index = index
        if not self.labels.shape == self.scores.shape == self.ids.shape or self.labels.ndim != 1:
            shapes = f"{self.labels.shape}, {self.scores.shape} and {self.ids.shape}"
            raise ValueError(f"labels, scores and ids must be of one length, got the shapes {shapes}")

    def __len__(self) -> int:
        return len(self.labels)

    def _row(self, at: int) -> dict[str, Any]:
        return {"label": str(self.labels[at]), "score": float(self.scores[at])}

    def _take(self, key: Any) -> Labels:
        return Labels(self.labels[key].tolist(), self.scores[key], self.ids[key], index=self.index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Labels, list)):
            return self.to_dict() == (other.to_dict() if isinstance(other, Labels) else other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        pairs = zip(self.labels.tolist(), self.scores.tolist(), strict=True)
        rows = [f"{label!r}: {score:.4g}" for label, score in islice(pairs, SHOWN)]
        more = [f"… {len(self) - SHOWN} more"] if len(self) > SHOWN else []
        return f"Labels({{{', '.join([*rows, *more])}}}, index={self.index})"

    def to_dict(self) -> list[dict[str, Any]]:
        """`[{"label": str, "score": float}, …]`, best first."""
        pairs = zip(self.labels.tolist(), self.scores.tolist(), strict=True)
        return [{"label": label, "score": score} for label, score in pairs]

    def lines(self) -> list[str]:
        """One short text per label: its name and its score."""
        rows = zip(self.labels.tolist(), self.scores.tolist(), strict=True)
        return [f"{label} {score:.4f}" for label, score in rows] or ["no labels"]

    def plot(self, image: Any = None, *, audio: Any = None, most: int = 5, width_px: int = 640) -> Image.Image:
        """Draws the best labels and their scores as bars under the picture, or under the sound's spectrogram.

        Args:
            image: in any form that the pipeline takes.
            audio: instead of a picture, the sound: in any form that the pipeline takes, an array with its rate.
            most: how many labels to draw at most.
            width_px: of the drawing of a sound, at least 240.

        Returns:
            An RGB picture at least 240 px wide, taller than `image` by one row a label.

        Raises:
            ValueError: neither a picture nor a sound, or both.
            InputError: it cannot be read.
        """
        if (image is None) == (audio is None):
            raise ValueError("labels are drawn under a picture, plot(image), or under a sound, plot(audio=…); give one")
        if audio is not None:
            image = draw_spectrogram(audio, width_px=width_px).image
        return draw_bars(image, self.labels.tolist()[:most], self.scores.tolist()[:most])
