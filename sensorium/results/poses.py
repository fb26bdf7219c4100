"""Poses of the people on a picture: named joints, and the lines between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Array, Field, Structs
from sensorium.results.detections import SIDES
from sensorium.results.drawing import to_rgb
from sensorium.results.keypoints import Keypoints
from sensorium.results.kinds import FLOAT32, INT64, TEXT
from sensorium.results.palette import colour
from sensorium.results.result import put_source
from sensorium.results.rows import Rows
from sensorium.results.saving import suffix_of, written_whole
from sensorium.results.tags import line_width

if TYPE_CHECKING:
    from PIL import Image

DRAWN = 0.3
"""The score above which a joint is drawn unless told otherwise."""


class Poses(Rows):
    """The joints of each person on a picture, in the order of their boxes.

    Attributes:
        xy: `(N, K, 2)` float32, joint by joint, px of the original picture, where (0, 0) is the centre of its upper
            left px; NaN for a joint that scores no more than the call's `threshold`.
        scores: `(N, K)` float32, the heights of the joints' heat maps: about 1 for one that is plain to see.
        boxes: `(N, 4)` float32, xyxy px of the original picture, the boxes in which joints were looked for.
        box_scores: `(N,)` float32 in [0, 1], of a detector; None where boxes were given.
        labels: `(K,)` str, the joints' names.
        edges: `(E, 2)` int64, pairs of joints between which there is a bone.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("box_scores", "boxes", "edges", "index", "labels", "scores", "xy")

    columns = (
        Structs(
            "people",
            *(Field(side, FLOAT32, "boxes", part) for part, side in enumerate(SIDES)),
            Field("score", FLOAT32, "box_scores", optional=True),
        ),
        Structs("joints", Field("label", TEXT, "labels")),
        Structs("edges", Field("start", INT64, "edges", 0), Field("end", INT64, "edges", 1)),
        Array("xy"),
        Array("scores"),
    )

    def __init__(
        self,
        xy: Any,
        scores: Any,
        boxes: Any,
        labels: Sequence[str] | NDArray[np.str_],
        edges: Any = (),
        *,
        box_scores: Any = None,
        index: int = 0,
    ) -> None:
        """Checks that all agree, and copies the arrays.

        Raises:
            ValueError: an array of another shape, or an edge to a joint that there is not.
        """
        self.labels: NDArray[np.str_] = np.array(labels, dtype=np.str_)
        joints = len(self.labels)
        self.boxes: NDArray[np.float32] = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        count = len(self.boxes)
        self.xy: NDArray[np.float32] = _shaped("xy", xy, (count, joints, 2))
        self.scores: NDArray[np.float32] = _shaped("scores", scores, (count, joints))
        self.box_scores: NDArray[np.float32] | None = None
        if box_scores is not None:
            self.box_scores = _shaped("box_scores", box_scores, (count,))
        self.edges: NDArray[np.int64] = np.array(edges, dtype=np.int64).reshape(-1, 2)
        if self.edges.size and not (self.edges.min() >= 0 and self.edges.max() < joints):
            raise ValueError(f"edges are between joints 0 to {joints - 1}, got {self.edges.tolist()!r:.200}")
        self.index = index

    @classmethod
    def _made(cls, **held: Any) -> Self:
        made = cls(**held)
        if not (np.abs(made.boxes) < 2.0**62).all():
            raise ValueError("a box in a picture has finite sides, got others")
        return made

    def __len__(self) -> int:
        return len(self.boxes)

    def person(self, at: int) -> Keypoints:
        """The joints of one person that are given, as named points."""
        given = self.given[at]
        points = Keypoints(self.xy[at][given], self.scores[at][given], self.labels[given], index=self.index)
        put_source(points, self.source)
        return points

    @property
    def given(self) -> NDArray[np.bool_]:
        """`(N, K)` bool: which joints have a place."""
        return np.asarray(np.isfinite(self.xy).all(-1))

    def _row(self, at: int) -> dict[str, Any]:
        box = dict(zip(SIDES, self.boxes[at].tolist(), strict=True))
        joints = zip(self.labels.tolist(), self.xy[at].tolist(), self.scores[at].tolist(), strict=True)
        told = zip(self.given[at].tolist(), joints, strict=True)
        points = [{"label": label, "x": x, "y": y, "score": score} for given, (label, (x, y), score) in told if given]
        scored = {} if self.box_scores is None else {"score": float(self.box_scores[at])}
        return {"box": box, **scored, "keypoints": points}

    def _take(self, key: Any) -> Poses:
        box_scores = None if self.box_scores is None else self.box_scores[key]
        kept = self.xy[key], self.scores[key], self.boxes[key]
        return Poses(*kept, self.labels, self.edges, box_scores=box_scores, index=self.index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Poses):
            names = ("xy", "scores", "boxes", "labels", "edges")
            same = all(_equal(getattr(self, name), getattr(other, name)) for name in names)
            return same and _equal(self.box_scores, other.box_scores)
        return self.to_dict() == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        return f"Poses({len(self)} people, {len(self.labels)} joints each, index={self.index})"

    def to_dict(self) -> list[dict[str, Any]]:
        """One dict a person, with a `"score"` of the box where a detector has found it.

        `[{"box": {"xmin": float, …}, "keypoints": [{"label": str, "x": float, "y": float, "score": float}, …]}, …]`;
        joints that score no more than the call's threshold are left out.
        """
        return [self._row(i) for i in range(len(self))]

    def records(self) -> list[dict[str, Any]]:
        """One flat dict for each joint: the number of its person, its name, its place and its score."""
        return [{"person": i, **joint} for i in range(len(self)) for joint in self._row(i)["keypoints"]]

    def lines(self) -> list[str]:
        """Short texts for a terminal, one a person: the box, how many joints are plain to see, and the best one."""
        lines = []
        for i, (box, scores) in enumerate(zip(self.boxes.round().astype(np.int64).tolist(), self.scores, strict=True)):
            x0, y0, x1, y1 = box
            shown = int((self.given[i] & (scores > DRAWN)).sum())
            best = f", best {self.labels[scores.argmax()]} {scores.max():.4f}" if len(scores) else ""
            lines.append(f"person at {x0},{y0} to {x1},{y1}: {shown} of {len(scores)} joints above {DRAWN}{best}")
        return lines or ["no people"]

    def plot(self, image: Any, *, min_score: float = DRAWN) -> Image.Image:
        """Draws each person's skeleton in a colour of its own.

        Args:
            image: the picture that they were found in, in any form that the pipeline takes.
            min_score: joints that score no more are left out, and so are bones to them.

        Returns:
            An RGB picture of the size of `image`.
        """
        from PIL import ImageDraw

        canvas = to_rgb(image)
        draw, wide = ImageDraw.Draw(canvas), line_width(canvas)
        shown = self.given & (self.scores > min_score)
        for i in np.argsort((self.scores * shown).sum(1), kind="stable").tolist():  # whoever is plainest, on top
            height = float(self.boxes[i, 3] - self.boxes[i, 1])
            width = max(1, min(2 * wide, round(height / 60)))  # thin on small people
            for start, end in self.edges[shown[i][self.edges].all(-1)].tolist():
                ends = [tuple(self.xy[i, start].tolist()), tuple(self.xy[i, end].tolist())]
                draw.line(ends, fill=colour(i), width=width)
            radius = width * 1.2 + 0.5
            for x, y in self.xy[i][shown[i]].tolist():
                draw.ellipse(
                    (x - radius, y - radius, x + radius, y + radius),
                    fill=(255, 255, 255),
                    outline=colour(i),
                    width=max(1, width // 3),
                )
        return canvas

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict()` as `.json`, or all arrays as an uncompressed `.npz`.

        Raises:
            ValueError: the path ends in neither.
        """
        if suffix_of(path, (".json", ".npz"), what="a result of the kind Poses") == ".json":
            super().save(path)
            return
        arrays = {name: getattr(self, name) for name in ("xy", "scores", "boxes", "labels", "edges", "box_scores")}
        with written_whole(path) as part, part.open("wb") as file:  # NumPy would add its own suffix to a name
            np.savez(file, allow_pickle=False, **{name: array for name, array in arrays.items() if array is not None})


def _shaped(name: str, values: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = np.array(values, dtype=np.float32)
    if array.size == 0 and 0 in shape:
        array = array.reshape(shape)
    if array.shape != shape:
        raise ValueError(f"{name} of {shape[0]} people are {shape}, got the shape {array.shape}")
    return array


def _equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
