"""Objects found in a picture: boxes, classes and scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.drawing import to_rgb
from sensorium.results.exporting.categories import Given
from sensorium.results.exporting.coco import read_boxes
from sensorium.results.exporting.found_objects import FoundObjects
from sensorium.results.kinds import FLOAT32, INT64, TEXT
from sensorium.results.object_rows import ObjectRows
from sensorium.results.palette import colour
from sensorium.results.tags import Tags, line_width

if TYPE_CHECKING:
    from PIL import Image

SIDES = ("xmin", "ymin", "xmax", "ymax")


class Detections(ObjectRows):
    """Objects found in a picture, in the order in which the model gives them.

    The arrays keep fractions of a pixel. The dicts have Transformers' schema, in which a box's sides are whole numbers,
    cut off towards 0.

    Attributes:
        xyxy: `(N, 4)` float32, left, top, right and bottom side of each box, px of the original picture; a box may
            reach beyond the picture, as the model has it.
        scores: `(N,)` float32 in [0, 1].
        labels: `(N,)` str, class names.
        ids: `(N,)` int64, the classes' positions in the checkpoint's `id2label`, or the labels' in a call's
            `candidate_labels`.
        size: (height, width) of the picture, px; None where it is not known.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("ids", "index", "labels", "scores", "size", "xyxy")

    columns = (
        Structs(
            "detections",
            Field("label", TEXT, "labels"),
            Field("score", FLOAT32, "scores"),
            Field("id", INT64, "ids"),
            *(Field(side, FLOAT32, "xyxy", part) for part, side in enumerate(SIDES)),
        ),
        Scalar("height", INT64, nullable=True),
        Scalar("width", INT64, nullable=True),
    )

    def __init__(
        self,
        xyxy: Any,
        scores: Any,
        labels: Sequence[str],
        ids: Any = None,
        *,
        size: tuple[int, int] | None = None,
        index: int = 0,
    ) -> None:
        """Checks that the four agree in length; `ids` are -1 where they are not given.

        Raises:
            ValueError: a shape is not as described above, or the lengths differ.
        """
        self.scores: NDArray[np.float32] = np.array(scores, dtype=np.float32)
        boxes = np.array(xyxy, dtype=np.float32)
        self.xyxy: NDArray[np.float32] = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        self.labels: NDArray[np.str_] = np.array(labels, dtype=np.str_)
        self.ids: NDArray[np.int64] = np.full(self.scores.shape, -1) if ids is None else np.array(ids, dtype=np.int64)
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.index = index
        count = len(self.xyxy)
        if self.xyxy.shape != (count, 4) or {self.scores.shape, self.labels.shape, self.ids.shape} != {(count,)}:
            shapes = ", ".join(str(array.shape) for array in (self.xyxy, self.scores, self.labels, self.ids))
            raise ValueError(f"xyxy is (N, 4), scores, labels and ids are (N,), got the shapes {shapes}")

    @classmethod
    def from_coco(
        cls,
        annotations: Iterable[Mapping[str, Any]],
        *,
        categories: Given | None = None,
        size: tuple[int, int] | None = None,
        index: int = 0,
    ) -> Self:
        """Boxes of one picture's COCO annotations; a score is 1 where there is none.

        Args:
            annotations: with `bbox` and `category_id`.
            categories: a name for each number, or COCO's list; None for the numbers as text.
            size: (height, width) of the picture, px, if it is known.
            index: the position of the input.

        Raises:
            ValueError: an annotation is not as described, or they are of several pictures.
        """
        found = read_boxes(annotations, categories, size)
        return cls(found.xyxy, found.scores, found.labels, found.ids, size=size, index=index)

    def _found(self) -> FoundObjects:
        return FoundObjects(self.xyxy.astype(np.float64), self.labels.tolist(), self.ids, self.scores, self.size)

    def _held(self) -> dict[str, Any]:
        held = {name: getattr(self, name) for name in ("labels", "scores", "ids", "xyxy")}
        return held | dict(zip(("height", "width"), self.size or (None, None), strict=True))

    @classmethod
    def _made(cls, *, height: int | None = None, width: int | None = None, **held: Any) -> Self:
        if (height is None) != (width is None):
            raise ValueError(f"a picture has a height and a width, or neither is known; got {height} and {width}")
        made = cls(size=None if height is None or width is None else (height, width), **held)
        if not (np.abs(made.xyxy) < 2.0**62).all():
            raise ValueError("a box in a picture has finite sides, got others")
        return made

    def __len__(self) -> int:
        return len(self.scores)

    def _row(self, at: int) -> dict[str, Any]:
        box = dict(zip(SIDES, np.trunc(self.xyxy[at]).astype(int).tolist(), strict=True))
        return {"score": float(self.scores[at]), "label": str(self.labels[at]), "box": box}

    def _take(self, key: Any) -> Detections:
        labels = self.labels[key].tolist()
        return Detections(self.xyxy[key], self.scores[key], labels, self.ids[key], size=self.size, index=self.index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Detections):
            pairs = ((self.xyxy, other.xyxy), (self.scores, other.scores), (self.labels, other.labels))
            return all(np.array_equal(mine, theirs) for mine, theirs in pairs)
        return self.to_dict() == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        limit = 8
        pairs = zip(self.labels[:limit].tolist(), self.scores[:limit].tolist(), strict=True)
        shown = [f"{label} {score:.3f}" for label, score in pairs]
        shown += [f"and {len(self) - limit} more"] if len(self) > limit else []
        return f"Detections([{', '.join(shown)}], index={self.index})"

    @property
    def area(self) -> NDArray[np.float32]:
        """`(N,)` float32, the boxes' areas in px²; 0 for one that is turned inside out."""
        width, height = (self.xyxy[:, 2:] - self.xyxy[:, :2]).clip(min=0).T
        return np.asarray(width * height, dtype=np.float32)

    def to_dict(self) -> list[dict[str, Any]]:
        """`[{"score": float, "label": str, "box": {"xmin": int, "ymin": int, "xmax": int, "ymax": int}}, …]`."""
        return [self._row(i) for i in range(len(self))]

    def lines(self) -> list[str]:
        """One short text an object: its label, its score and its box in whole px."""
        rows = [(row["label"], row["score"], *row["box"].values()) for row in self]
        return [f"{label} {score:.4f} at {x0},{y0} to {x1},{y1}" for label, score, x0, y0, x1, y1 in rows]

    def plot(self, image: Any) -> Image.Image:
        """Draws the boxes with their labels and scores into a copy of the picture.

        Args:
            image: the picture that they were found in, in any form that the pipeline takes.

        Returns:
            An RGB picture of the same size; each class has a colour of its own, and the best are drawn last.
        """
        from PIL import ImageDraw

        canvas = to_rgb(image)
        draw, width, tags = ImageDraw.Draw(canvas), line_width(canvas), Tags(canvas)
        numbers = self.ids if (self.ids >= 0).all() else np.unique(self.labels, return_inverse=True)[1]
        right, bottom = canvas.width - 1, canvas.height - 1
        best_first = np.argsort(-self.scores, kind="stable").tolist()
        sides = self.xyxy.clip(0, (right, bottom, right, bottom))
        boxes = [(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)) for x0, y0, x1, y1 in sides.tolist()]
        for i in reversed(best_first):
            draw.rectangle(boxes[i], outline=colour(int(numbers[i])), width=width)
        for i in best_first:
            tags.add(boxes[i], str(self.labels[i]), float(self.scores[i]), colour(int(numbers[i])))
        tags.draw()
        return canvas
