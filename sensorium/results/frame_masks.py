"""Masks of named objects on one frame of a film."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sensorium.results import rle
from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.drawing import to_rgb
from sensorium.results.kinds import FLOAT32, INT64, TEXT
from sensorium.results.mask_drawing import lay_over, name_masks
from sensorium.results.mask_rows import MaskRows
from sensorium.results.palette import colour
from sensorium.results.run_boxes import box_of

if TYPE_CHECKING:
    from PIL import Image

Runs = NDArray[np.int64]


class FrameMasks(MaskRows):
    """The masks of the objects that are followed through a film, on one of its frames, kept as runs.

    Attributes:
        object_ids: N names, in the order in which the objects were added.
        scores: `(N,)` float32 in [0, 1], how sure it is that each is in sight; below 0.5 its mask is empty.
        ious: `(N,)` float32, the model's own estimate of each mask's IoU with the truth; 1 for a mask that was given.
        boxes: `(N, 4)` int64, xyxy px; both edges lie within the mask. Zeros for an empty mask.
        areas: `(N,)` int64, px.
        colours: `(N,)` int64, which colour of the palette each object is drawn in, the same on all frames.
        size: (height, width) of the frame, px.
        frame: the frame's number in the film, from 0.
        index: the position of the film among the call's inputs.
    """

    __slots__ = ("_runs", "areas", "boxes", "colours", "frame", "index", "ious", "object_ids", "scores", "size")

    columns = (
        Structs(
            "masks",
            Field("object_id", TEXT, "object_ids"),
            Field("rle", TEXT, "rles"),
            Field("score", FLOAT32, "scores"),
            Field("iou", FLOAT32, "ious"),
            Field("colour", INT64, "colours"),
        ),
        Scalar("frame", INT64),
        Scalar("height", INT64),
        Scalar("width", INT64),
    )

    def __init__(
        self,
        runs: Sequence[Runs],
        size: tuple[int, int],
        object_ids: Sequence[str],
        scores: ArrayLike,
        ious: ArrayLike,
        *,
        frame: int,
        colours: ArrayLike | None = None,
        index: int = 0,
    ) -> None:
        """Checks that all agree.

        Args:
            runs: of each mask, as `results.rle.runs` gives them.
            size: (height, width), px.
            object_ids: N names.
            scores: `(N,)`.
            ious: `(N,)`.
            frame: the frame's number.
            colours: `(N,)`; 0 to N - 1 unless given.
            index: the position of the input.

        Raises:
            ValueError: lengths differ, or runs do not fill the size.
        """
        for lengths in runs:
            rle.check_runs(lengths, size)
        self._runs, self.size, self.frame, self.index = list(runs), size, frame, index
        self.object_ids = [str(name) for name in object_ids]
        count = len(self._runs)
        self.scores: NDArray[np.float32] = np.array(scores, np.float32)
        self.ious: NDArray[np.float32] = np.array(ious, np.float32)
        self.colours: NDArray[np.int64] = np.arange(count) if colours is None else np.array(colours, np.int64)
        shapes = [(len(self.object_ids),), self.scores.shape, self.ious.shape, self.colours.shape]
        if shapes != [(count,)] * 4:
            raise ValueError(f"{count} masks need as many object_ids, scores, ious and colours, got {shapes}")
        edges = np.array([box_of(lengths, size) for lengths in self._runs], np.int64).reshape(-1, 4)
        self.boxes: NDArray[np.int64] = np.maximum(edges - np.array([0, 0, 1, 1]), 0)
        self.areas: NDArray[np.int64] = np.array([lengths[1::2].sum() for lengths in self._runs], np.int64)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """`(N, H, W)` bool, unpacked at each access; `mask` unpacks one."""
        return np.array([self.mask(i) for i in range(len(self))], bool).reshape(-1, *self.size)

    def mask(self, which: int | str) -> NDArray[np.bool_]:
        """`(H, W)` bool: one mask, by its position or its object's name.

        Raises:
            ValueError: no object has this name.
        """
        at = self.object_ids.index(which) if isinstance(which, str) else which
        return np.ascontiguousarray(rle.fill(self._runs[at], self.size))

    @property
    def rle(self) -> list[dict[str, Any]]:
        """COCO's compressed run-length encoding of each: `{"size": [h, w], "counts": str}`."""
        return [{"size": list(self.size), "counts": rle.compress(lengths)} for lengths in self._runs]

    def _mask_runs(self) -> list[Runs]:
        return self._runs

    def _named(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32]]:
        return self.object_ids, self.colours, self.scores

    def _held(self) -> dict[str, Any]:
        held = {name: getattr(self, name) for name in ("object_ids", "scores", "ious", "colours", "frame")}
        rles = [rle.compress(lengths) for lengths in self._runs]
        return held | {"rles": rles, "height": self.size[0], "width": self.size[1]}

    @classmethod
    def _made(cls, *, rles: Sequence[str] = (), height: int = 0, width: int = 0, **held: Any) -> FrameMasks:
        size = rle.checked_size((height, width))
        return cls([rle.decompress(counts) for counts in rles], size, **held)

    def __len__(self) -> int:
        return len(self._runs)

    def _row(self, at: int) -> dict[str, Any]:
        scored = {"score": float(self.scores[at]), "iou": float(self.ious[at])}
        return {"object_id": self.object_ids[at], "mask": self.mask(at), **scored}

    def _take(self, key: Any) -> FrameMasks:
        kept = np.arange(len(self))[key]
        return FrameMasks(
            [self._runs[i] for i in kept],
            self.size,
            [self.object_ids[i] for i in kept],
            self.scores[kept],
            self.ious[kept],
            frame=self.frame,
            colours=self.colours[kept],
            index=self.index,
        )

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, FrameMasks) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        moment = "" if self.time_s is None else f" at {self.time_s:.3f} s"
        return f"FrameMasks(frame {self.frame}{moment}, {', '.join(self.object_ids)})"[:500]

    def lines(self) -> list[str]:
        """Short texts for a terminal, one an object: its name, its score, its mask's area and box."""
        rows = zip(self.object_ids, self.scores.tolist(), self.areas.tolist(), self.boxes.tolist(), strict=True)
        lines = []
        for name, score, area, (x0, y0, x1, y1) in rows:
            where = f"{area} px, {x0},{y0} to {x1},{y1}" if area else "not in sight"
            lines.append(f"frame {self.frame}: {name} {score:.4f}, {where}")
        return lines or [f"frame {self.frame}: no objects"]

    def records(self) -> list[dict[str, Any]]:
        """One flat dict for each object, with the frame's number and its time; the mask is COCO's compressed RLE."""
        sides = ("xmin", "ymin", "xmax", "ymax")
        return [
            {"frame": self.frame, "time_s": self.time_s, "object_id": name, "score": score, "iou": iou, "area": area}
            | dict(zip(sides, box, strict=True))
            | {"rle": encoded["counts"]}
            for name, score, iou, area, box, encoded in zip(
                self.object_ids,
                self.scores.tolist(),
                self.ious.tolist(),
                self.areas.tolist(),
                self.boxes.tolist(),
                self.rle,
                strict=True,
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: the frame's number, its time, and a list for each other attribute, masks as compressed RLE."""
        return {
            "frame": self.frame,
            "time_s": self.time_s,
            "object_ids": list(self.object_ids),
            "masks": self.rle,
            "scores": self.scores.tolist(),
            "ious": self.ious.tolist(),
            "bounding_boxes": self.boxes.tolist(),
            "areas": self.areas.tolist(),
        }

    def plot(self, image: Any, *, alpha: float = 0.5) -> Image.Image:
        """Lays each mask over the frame in its object's colour, the largest first, with its contour and its name.

        Args:
            image: the frame, in any form that a task for pictures takes.
            alpha: how much of the colour, in [0, 1].

        Returns:
            An RGB picture.

        Raises:
            ValueError: a picture of another size.
        """
        canvas = to_rgb(image)
        if canvas.size != self.size[::-1]:
            raise ValueError(f"the masks are of {self.size[1]}x{self.size[0]} px, got a picture of {canvas.size}")
        order = np.argsort(-self.areas, kind="stable").tolist()
        colours = [colour(number) for number in self.colours.tolist()]
        runs, colours = [self._runs[i] for i in order], [colours[i] for i in order]
        lay_over(canvas, zip(runs, colours, strict=True), alpha=alpha)
        name_masks(canvas, runs, [self.object_ids[i] for i in order], None, colours)
        return canvas
