"""Masks of objects, with names where texts asked for them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sensorium.results import rle
from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.drawing import to_rgb
from sensorium.results.exporting.coco import read_masks
from sensorium.results.kinds import FLOAT32, INT64, TEXT
from sensorium.results.mask_arrays import checked_arrays
from sensorium.results.mask_drawing import lay_over, name_masks
from sensorium.results.mask_rows import MaskRows, read_runs
from sensorium.results.palette import colour

if TYPE_CHECKING:
    from PIL import Image

Runs = NDArray[np.int64]
SIDES = ("xmin", "ymin", "xmax", "ymax")
_NAME = "object"  # what a mask's class is called where a name is needed
_OPTIONAL = ("labels", "pred_boxes")


class Masks(MaskRows):
    """Masks of objects on one picture, kept as runs and unpacked on access.

    Attributes:
        scores: `(N,)` float32, the model's own estimate of each mask's IoU with the truth. SAM's may lie slightly
            outside [0, 1].
        boxes: `(N, 4)` int64, xyxy px of the picture; both edges lie within the mask. Zeros for an empty mask.
        stability: `(N,)` float32 in [0, 1], the IoU of the mask cut at a higher and at a lower threshold.
        areas: `(N,)` int64, px.
        objects: `(N,)` int64, the position, among the call's points or boxes, of the object that each mask belongs to;
            there may be several masks for one. 0 to N - 1 where the call named no objects.
        labels: `(N,)` str, the text that each mask was asked for by; None where the call had no texts.
        pred_boxes: `(N, 4)` float32, xyxy px, the boxes that the model itself gives; None where it gives none.
        size: (height, width) of the picture, px.
        index: the position of the input among the call's inputs.
    """

    __slots__ = (
        "_runs", "_unpacked", "areas", "boxes", "index", "labels", "objects", "pred_boxes", "scores", "size",
        "stability",
    )  # fmt: skip

    scores: NDArray[np.float32]
    boxes: NDArray[np.int64]
    stability: NDArray[np.float32]
    areas: NDArray[np.int64]
    objects: NDArray[np.int64]
    labels: NDArray[np.str_] | None
    pred_boxes: NDArray[np.float32] | None

    columns = (
        Structs(
            "masks",
            Field("rle", TEXT, "rles"),
            Field("score", FLOAT32, "scores"),
            Field("stability", FLOAT32, "stability"),
            Field("area", INT64, "areas"),
            Field("object", INT64, "objects"),
            *(Field(side, INT64, "boxes", part) for part, side in enumerate(SIDES)),
            Field("label", TEXT, "labels", optional=True),
            *(Field(f"pred_{side}", FLOAT32, "pred_boxes", part, optional=True) for part, side in enumerate(SIDES)),
        ),
        Scalar("height", INT64),
        Scalar("width", INT64),
    )

    def __init__(
        self,
        masks: Any,
        scores: ArrayLike,
        *,
        boxes: ArrayLike | None = None,
        stability: ArrayLike | None = None,
        objects: ArrayLike | None = None,
        labels: Sequence[str] | None = None,
        pred_boxes: ArrayLike | None = None,
        size: tuple[int, int] | None = None,
        index: int = 0,
    ) -> None:
        """Checks that all agree.

        Args:
            masks: `(N, H, W)` bool, or a sequence of `(H, W)` arrays and RLE dicts.
            scores: `(N,)`.
            boxes: `(N, 4)`; made from the masks unless given.
            stability: `(N,)`; ones unless given.
            objects: `(N,)`; 0 to N - 1 unless given.
            labels: N texts, or None.
            pred_boxes: `(N, 4)`, or None.
            size: (height, width); needed only where there are no masks.
            index: the position of the input.

        Raises:
            ValueError: sizes or lengths differ, or the size is unknown.
        """
        sizes, runs = read_runs(masks)
        if size is not None:
            sizes.add((int(size[0]), int(size[1])))
        if len(sizes) != 1:
            raise ValueError(f"masks must be of one size, and have one where there are none; got {sorted(sizes)}")
        told = {"boxes": boxes, "stability": stability, "objects": objects, "labels": labels, "pred_boxes": pred_boxes}
        self._fill(runs, sizes.pop(), index, {"scores": scores, **told})

    @classmethod
    def from_runs(
        cls,
        runs: Sequence[Runs],
        size: tuple[int, int],
        scores: ArrayLike,
        *,
        boxes: ArrayLike | None = None,
        stability: ArrayLike | None = None,
        objects: ArrayLike | None = None,
        labels: Sequence[str] | None = None,
        pred_boxes: ArrayLike | None = None,
        index: int = 0,
    ) -> Self:
        """Takes masks that are runs already, as `results.rle.runs` gives them.

        Raises:
            ValueError: lengths differ, or runs do not fill the size.
        """
        self = cls.__new__(cls)
        for lengths in runs:
            rle.check_runs(lengths, size)
        told = {"boxes": boxes, "stability": stability, "objects": objects, "labels": labels, "pred_boxes": pred_boxes}
        self._fill(list(runs), size, index, {"scores": scores, **told})
        return self

    def _fill(self, runs: list[Runs], size: tuple[int, int], index: int, told: Mapping[str, Any]) -> None:
        self._runs, self.size, self.index = runs, size, index
        self._unpacked: NDArray[np.bool_] | None = None
        for name, array in checked_arrays(runs, size, **told).items():
            setattr(self, name, array)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """`(N, H, W)` bool; unpacked on first access, and kept. `mask` unpacks one."""
        if self._unpacked is None:
            self._unpacked = np.empty((len(self), *self.size), bool)
            for i in range(len(self)):
                self._unpacked[i] = self.mask(i)
        return self._unpacked

    def mask(self, i: int) -> NDArray[np.bool_]:
        """`(H, W)` bool: one mask."""
        return np.ascontiguousarray(rle.fill(self._runs[i], self.size))

    @property
    def rle(self) -> list[dict[str, Any]]:
        """COCO's compressed run-length encoding of each: `{"size": [h, w], "counts": str}`."""
        return [{"size": list(self.size), "counts": rle.compress(lengths)} for lengths in self._runs]

    def _mask_runs(self) -> list[Runs]:
        return self._runs

    def _named(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32]]:
        if self.labels is None:
            return [_NAME] * len(self), np.zeros(len(self), np.int64), self.scores
        return self.labels.tolist(), self.objects, self.scores

    def _more(self) -> dict[str, NDArray[Any]]:
        return {"stability": self.stability, "object": self.objects}

    @classmethod
    def from_coco(
        cls, annotations: Iterable[Mapping[str, Any]], *, size: tuple[int, int] | None = None, index: int = 0
    ) -> Self:
        """Masks of one picture's COCO annotations; a score is 1 where there is none.

        Args:
            annotations: with `segmentation` as RLE or polygons, filled as pycocotools does, and `category_id`.
            size: (height, width) of the picture, px; needed where no mask is RLE.
            index: the position of the input.

        Raises:
            ValueError: an annotation is not as described, or they are of several pictures; the size is not known.
        """
        found = read_masks(annotations, None, size)
        assert found.size is not None
        scores = np.ones(len(found.labels), np.float32) if found.scores is None else found.scores
        return cls.from_runs(found.runs or [], found.size, scores, index=index)

    def best(self) -> Masks:
        """The best-scoring mask of each object, in the order of the objects."""
        order = np.lexsort((-self.scores, self.objects))
        first = np.ones(len(order), bool)
        first[1:] = np.diff(self.objects[order]) != 0
        return self[order[first]]

    def _held(self) -> dict[str, Any]:
        held = {name: getattr(self, name) for name in ("scores", "stability", "areas", "objects", "boxes", *_OPTIONAL)}
        rles = [rle.compress(lengths) for lengths in self._runs]
        return held | {"rles": rles, "height": self.size[0], "width": self.size[1]}

    @classmethod
    def _made(cls, *, rles: Sequence[str] = (), height: int = 0, width: int = 0, **held: Any) -> Self:
        del held["areas"]  # which the runs tell
        size = rle.checked_size((height, width))
        return cls.from_runs([rle.decompress(counts) for counts in rles], size, **held)

    def __len__(self) -> int:
        return len(self._runs)

    def _row(self, at: int) -> dict[str, Any]:
        named = {} if self.labels is None else {"label": str(self.labels[at])}
        return {"mask": self.mask(at), "score": float(self.scores[at]), **named}

    def _take(self, key: Any) -> Masks:
        kept = np.arange(len(self))[key]
        told = {name: getattr(self, name) for name in ("boxes", "stability", "objects", *_OPTIONAL)}
        left = {name: None if array is None else array[kept] for name, array in told.items()}
        return Masks.from_runs([self._runs[i] for i in kept], self.size, self.scores[kept], index=self.index, **left)

    def _entry(self, key: str) -> Any:
        if key == "masks":
            return [self.mask(i) for i in range(len(self))]
        if key == "rle_mask":
            return [{"size": list(self.size), "counts": lengths.tolist()} for lengths in self._runs]
        if key not in ("scores", "bounding_boxes"):
            return super()._entry(key)
        return self.scores if key == "scores" else self.boxes

    def _keys(self) -> list[str]:
        more = [name for name in _OPTIONAL if getattr(self, name) is not None]
        return ["masks", "scores", "bounding_boxes", "stability_scores", "areas", "objects", *more]

    def __contains__(self, key: object) -> bool:
        return key == "rle_mask" or super().__contains__(key)

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Masks) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __reduce__(self) -> tuple[Any, ...]:  # without the unpacked masks
        rest = {name: getattr(self, name) for name in ("boxes", "stability", "objects", *_OPTIONAL, "index")}
        make = functools.partial(Masks.from_runs, **rest)
        return make, (self._runs, self.size, self.scores), (None, {"_source": self.source, "_time_s": self.time_s})

    def __repr__(self) -> str:
        height, width = self.size
        return f"Masks({len(self)} of {width}x{height} px, index={self.index})"

    def lines(self) -> list[str]:
        """Short texts for a terminal: a mask each, its label, score, area and box."""
        names = ["mask"] * len(self) if self.labels is None else self.labels.tolist()
        rows = zip(names, self.scores.tolist(), self.areas.tolist(), self.boxes.tolist(), strict=True)
        lines = [
            f"{name} {score:.4f}, {area} px, {x0},{y0} to {x1},{y1}" for name, score, area, (x0, y0, x1, y1) in rows
        ]
        return lines or ["no masks"]

    def records(self) -> list[dict[str, Any]]:
        """One flat dict for each mask: its score, its box, and so on; the mask is COCO's compressed RLE."""
        columns: dict[str, NDArray[Any]] = {} if self.labels is None else {"label": self.labels}
        columns |= {"score": self.scores, "stability": self.stability, "area": self.areas, "object": self.objects}
        columns |= dict(zip(SIDES, self.boxes.T, strict=True))
        if self.pred_boxes is not None:
            columns |= dict(zip((f"pred_{side}" for side in SIDES), self.pred_boxes.T, strict=True))
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        rows = zip(values, self.rle, strict=True)
        return [dict(zip(columns, row, strict=True)) | {"rle": encoded["counts"]} for row, encoded in rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: masks in COCO's compressed RLE, and a list for each other attribute that is not None."""
        more = {name: getattr(self, name) for name in _OPTIONAL}
        return {
            "masks": self.rle,
            "scores": self.scores.tolist(),
            "bounding_boxes": self.boxes.tolist(),
            "stability_scores": self.stability.tolist(),
            "areas": self.areas.tolist(),
            "objects": self.objects.tolist(),
            **{name: array.tolist() for name, array in more.items() if array is not None},
        }

    def plot(self, image: Any, *, alpha: float = 0.5) -> Image.Image:
        """Lays each mask over the picture in a colour of its own, the largest first, with its contour and its label.

        Args:
            image: the picture, in any form that the pipeline takes.
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
        runs, colours = [self._runs[i] for i in order], [colour(i) for i in order]
        lay_over(canvas, zip(runs, colours, strict=True), alpha=alpha)
        if self.labels is not None:
            name_masks(canvas, runs, self.labels[order].tolist(), self.scores[order].tolist(), colours)
        return canvas
