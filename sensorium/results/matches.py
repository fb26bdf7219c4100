"""Pairs of points that show the same place in two pictures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Structs
from sensorium.results.drawing import to_rgb
from sensorium.results.keypoints import Keypoints, heat
from sensorium.results.kinds import FLOAT32
from sensorium.results.rows import Rows
from sensorium.results.saving import suffix_of, written_whole
from sensorium.results.tags import dot, dot_radius

if TYPE_CHECKING:
    from PIL import Image


class Matches(Rows):
    """Points of one picture and the points of another that show the same, best first.

    Attributes:
        xy0: `(M, 2)` float32, px of the first picture.
        xy1: `(M, 2)` float32, px of the second picture; row i goes with row i of `xy0`.
        scores: `(M,)` float32 in [0, 1].
        index: the position of the pair among the call's inputs.
    """

    __slots__ = ("index", "scores", "xy0", "xy1")

    columns = (
        Structs(
            "matches",
            Field("x0", FLOAT32, "xy0", 0),
            Field("y0", FLOAT32, "xy0", 1),
            Field("x1", FLOAT32, "xy1", 0),
            Field("y1", FLOAT32, "xy1", 1),
            Field("score", FLOAT32, "scores"),
        ),
    )

    def __init__(self, xy0: Any, xy1: Any, scores: Any, *, index: int = 0) -> None:
        """Checks that the three agree in length, and copies the arrays.

        Raises:
            ValueError: an array of another shape; the message gives the shapes.
        """
        self.xy0: NDArray[np.float32] = np.array(xy0, dtype=np.float32)
        self.xy1: NDArray[np.float32] = np.array(xy1, dtype=np.float32)
        self.scores: NDArray[np.float32] = np.array(scores, dtype=np.float32)
        self.index = index
        if self.scores.size == self.xy0.size == self.xy1.size == 0:
            self.xy0, self.xy1, self.scores = (
                np.zeros((0, 2), np.float32),
                np.zeros((0, 2), np.float32),
                self.scores.reshape(0),
            )
        count = self.scores.shape[0] if self.scores.ndim == 1 else -1
        if not self.xy0.shape == self.xy1.shape == (count, 2):
            shapes = f"{self.xy0.shape}, {self.xy1.shape} and {self.scores.shape}"
            raise ValueError(f"xy0, xy1 and scores are (M, 2), (M, 2) and (M,), got the shapes {shapes}")

    def __len__(self) -> int:
        return len(self.scores)

    def _row(self, at: int) -> dict[str, Any]:
        ends = [{"x": float(xy[at, 0]), "y": float(xy[at, 1])} for xy in (self.xy0, self.xy1)]
        return {"keypoint_image_0": ends[0], "keypoint_image_1": ends[1], "score": float(self.scores[at])}

    def _take(self, key: Any) -> Matches:
        return Matches(self.xy0[key], self.xy1[key], self.scores[key], index=self.index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Matches, list)):
            return self.to_dict() == (other.to_dict() if isinstance(other, Matches) else other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        rows = [
            f"({a[0]:.1f}, {a[1]:.1f}) – ({b[0]:.1f}, {b[1]:.1f}): {score:.3g}"
            for a, b, score in zip(self.xy0[:3], self.xy1[:3], self.scores[:3], strict=True)
        ]
        more = ", …" if len(self) > 3 else ""
        return f"Matches({len(self)} pairs: {', '.join(rows)}{more}, index={self.index})"

    def to_dict(self) -> list[dict[str, Any]]:
        """`[{"keypoint_image_0": {"x", "y"}, "keypoint_image_1": {"x", "y"}, "score"}, …]`, floats, best first."""
        return [self._row(i) for i in range(len(self))]

    def lines(self) -> list[str]:
        """Short texts for a terminal: how many matches there are, and which is the best one."""
        if not len(self):
            return ["no matches"]
        best = int(self.scores.argmax())
        (x0, y0), (x1, y1) = self.xy0[best].tolist(), self.xy1[best].tolist()
        return [f"{len(self)} matches", f"best {self.scores[best]:.4f}: {x0:.1f}, {y0:.1f} and {x1:.1f}, {y1:.1f}"]

    def plot(self, image0: Any, image1: Any = None, *, most: int | None = None) -> Image.Image:
        """Draws both pictures side by side and a line for each match, red for the surest, blue for the least sure.

        Args:
            image0: the first picture, in any form that the pipeline takes.
            image1: the second one; without it only the points of the first one are drawn.
            most: how many matches to draw, best first; None for all.

        Returns:
            An RGB picture, as wide as both and as high as the higher one, or of the size of `image0` alone.
        """
        from PIL import Image, ImageDraw

        order = np.argsort(-self.scores, kind="stable")[:most]
        if image1 is None:
            return Keypoints(self.xy0[order], self.scores[order]).plot(image0)
        left, right = to_rgb(image0), to_rgb(image1)
        canvas = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), (24, 24, 28))
        canvas.paste(left, (0, 0))
        canvas.paste(right, (left.width, 0))
        draw, radius = ImageDraw.Draw(canvas), dot_radius(canvas)
        width = max(1, round(radius / 2))
        best = float(self.scores.max(initial=0.0)) or 1.0
        for i in order[::-1]:  # the surest ones lie on top
            (x0, y0), (x1, y1) = self.xy0[i].tolist(), self.xy1[i].tolist()
            ends, fill = ((x0, y0), (x1 + left.width, y1)), heat(float(self.scores[i]) / best)
            draw.line(ends, fill=fill, width=width)
            for xy in ends:
                dot(draw, xy, radius, fill)
        return canvas

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict()` as `.json`, or all arrays as an uncompressed `.npz`.

        Raises:
            ValueError: the path ends in neither.
        """
        if suffix_of(path, (".json", ".npz"), what="a result of the kind Matches") == ".json":
            super().save(path)
            return
        with written_whole(path) as part, part.open("wb") as file:  # NumPy would add its own suffix to a name
            np.savez(file, allow_pickle=False, xy0=self.xy0, xy1=self.xy1, scores=self.scores)
