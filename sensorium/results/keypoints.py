"""Points of a picture with their scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Array, Field, Structs
from sensorium.results.drawing import to_rgb
from sensorium.results.kinds import FLOAT32, TEXT
from sensorium.results.palette import Colour, colour
from sensorium.results.rows import Rows
from sensorium.results.saving import suffix_of, written_whole
from sensorium.results.tags import Tags, dot, dot_radius

if TYPE_CHECKING:
    from PIL import Image


class Keypoints(Rows):
    """Points of a picture: of interest, or named ones such as joints.

    Attributes:
        xy: `(N, 2)` float32, px of the original picture.
        scores: `(N,)` float32 in [0, 1].
        labels: `(N,)` str, the points' names, or None where they have none.
        descriptors: `(N, D)` float32 of length 1, what the surroundings of each point look like, or None.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("descriptors", "index", "labels", "scores", "xy")

    columns = (
        Structs(
            "keypoints",
            Field("x", FLOAT32, "xy", 0),
            Field("y", FLOAT32, "xy", 1),
            Field("score", FLOAT32, "scores"),
            Field("label", TEXT, "labels", optional=True),
        ),
        Array("descriptors", nullable=True),
    )

    def __init__(
        self,
        xy: Any,
        scores: Any,
        labels: Sequence[str] | NDArray[np.str_] | None = None,
        descriptors: Any = None,
        *,
        index: int = 0,
    ) -> None:
        """Checks that all agree in length, and copies the arrays.

        Raises:
            ValueError: an array of another shape; the message gives the shapes.
        """
        self.xy: NDArray[np.float32] = np.array(xy, dtype=np.float32)
        self.scores: NDArray[np.float32] = np.array(scores, dtype=np.float32)
        self.labels: NDArray[np.str_] | None = None if labels is None else np.array(labels, dtype=np.str_)
        self.descriptors: NDArray[np.float32] | None = None
        if descriptors is not None:
            self.descriptors = np.array(descriptors, dtype=np.float32)
        self.index = index
        if self.xy.size == 0:
            self.xy = self.xy.reshape(0, 2)
        if self.xy.ndim != 2 or self.xy.shape[1] != 2:
            raise ValueError(f"xy is (N, 2), got the shape {self.xy.shape}")
        count = len(self.xy)
        if self.scores.shape != (count,) or (self.labels is not None and self.labels.shape != (count,)):
            named = "" if self.labels is None else f" and labels {self.labels.shape}"
            raise ValueError(f"{count} points came with scores {self.scores.shape}{named}; expected ({count},)")
        if self.descriptors is not None and (self.descriptors.ndim != 2 or len(self.descriptors) != count):
            raise ValueError(f"{count} points came with descriptors {self.descriptors.shape}; expected ({count}, D)")

    def __len__(self) -> int:
        return len(self.xy)

    def _row(self, at: int) -> dict[str, Any]:
        row = {"x": float(self.xy[at, 0]), "y": float(self.xy[at, 1]), "score": float(self.scores[at])}
        return row if self.labels is None else {**row, "label": str(self.labels[at])}

    def _take(self, key: Any) -> Keypoints:
        kept = (None if array is None else array[key] for array in (self.labels, self.descriptors))
        return Keypoints(self.xy[key], self.scores[key], *kept, index=self.index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Keypoints):
            return self.to_dict() == other.to_dict() and np.array_equal(
                np.zeros(0) if self.descriptors is None else self.descriptors,
                np.zeros(0) if other.descriptors is None else other.descriptors,
            )
        return self.to_dict() == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        shown = [f"({x:.1f}, {y:.1f}): {score:.3g}" for (x, y), score in zip(self.xy[:3], self.scores[:3], strict=True)]
        if self.labels is not None:
            shown = [f"{str(label)[:60]!r} {point}" for label, point in zip(self.labels[:3], shown, strict=True)]
        more = ", …" if len(self) > 3 else ""
        wide = "" if self.descriptors is None else f", descriptors={self.descriptors.shape}"
        return f"Keypoints({len(self)} points: {', '.join(shown)}{more}{wide}, index={self.index})"

    def to_dict(self) -> list[dict[str, Any]]:
        """`[{"x": float, "y": float, "score": float}, …]` in px, with a `"label"` where the points have names.

        Descriptors are left out: they would be most of the text. `save` keeps them in an `.npz`.
        """
        return [self._row(i) for i in range(len(self))]

    def lines(self) -> list[str]:
        """Short texts for a terminal: a named point each, or how many points there are and where the best one is."""
        if self.labels is not None:
            rows = zip(self.labels.tolist(), self.xy.tolist(), self.scores.tolist(), strict=True)
            return [f"{label} {score:.4f} at {x:.1f}, {y:.1f}" for label, (x, y), score in rows]
        if not len(self):
            return ["no points"]
        best = int(self.scores.argmax())
        x, y = self.xy[best].tolist()
        return [f"{len(self)} points", f"best {self.scores[best]:.4f} at {x:.1f}, {y:.1f}"]

    def plot(self, image: Any, *, tags: bool = True) -> Image.Image:
        """Draws the points as dots: coloured by score from blue to red, or by label.

        Args:
            image: the picture that they were found in, in any form that the pipeline takes.
            tags: write the labels, where there are some.

        Returns:
            An RGB picture of the size of `image`.
        """
        from PIL import ImageDraw

        canvas = to_rgb(image)
        draw, radius = ImageDraw.Draw(canvas), dot_radius(canvas)
        best = float(self.scores.max(initial=0.0)) or 1.0
        for i in np.argsort(self.scores, kind="stable"):  # the best are drawn on top
            x, y = (float(value) for value in self.xy[i])
            fill = heat(float(self.scores[i]) / best) if self.labels is None else colour(_first(self.labels, i))
            dot(draw, (x, y), radius, fill)
        if tags and self.labels is not None:
            named = Tags(canvas)
            for i in np.argsort(-self.scores, kind="stable").tolist():
                x, y = self.xy[i].tolist()
                beside = (x + radius + 1, y - radius, x + radius + 1, y + radius)
                named.add(beside, str(self.labels[i]), float(self.scores[i]), colour(_first(self.labels, i)))
            named.draw()
        return canvas

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict()` as `.json`, or all arrays as an uncompressed `.npz`.

        Raises:
            ValueError: the path ends in neither.
        """
        if suffix_of(path, (".json", ".npz"), what="a result of the kind Keypoints") == ".json":
            super().save(path)
            return
        arrays = {name: getattr(self, name) for name in ("xy", "scores", "labels", "descriptors")}
        with written_whole(path) as part, part.open("wb") as file:  # NumPy would add its own suffix to a name
            np.savez(file, allow_pickle=False, **{name: array for name, array in arrays.items() if array is not None})


def heat(share: float) -> Colour:
    """A colour for a score: blue for 0, over yellow, to red for 1."""
    stops = np.array([(40, 110, 220), (250, 210, 40), (220, 30, 40)], dtype=np.float64)
    position = min(max(share, 0.0), 1.0) * 2
    left = min(int(position), 1)
    mixed = stops[left] + (stops[left + 1] - stops[left]) * (position - left)
    red, green, blue = (round(float(value)) for value in mixed)
    return red, green, blue


def _first(labels: Any, i: Any) -> int:
    """The number of a label among the different ones, so that equal labels share a colour."""
    return int(np.flatnonzero(np.asarray(labels) == labels[i])[0])
