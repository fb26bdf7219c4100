"""Parts of a picture: which pixels belong to which class or object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.drawing import contour, to_rgb
from sensorium.results.kinds import FLOAT32, INT64, TEXT, numbers_of
from sensorium.results.palette import colour
from sensorium.results.rle import checked_size, compress, decode, encode, runs, runs_by_value
from sensorium.results.rows import Rows
from sensorium.results.saving import suffix_of, written_whole
from sensorium.results.tags import Tags, line_width

if TYPE_CHECKING:
    from PIL import Image

_OUTLINE, _ALPHA = 0.9, 0.5
_MAX_BITS = 2**32  # px of all masks of one row that is read, one bit each
_MAX_BYTES = 2**30  # of a map in such a row


class Segments(Rows):
    """Segments of a picture: one map of small integers, from which masks are made on access.

    The dicts have Transformers' schema. Segments that overlap do not fit in one map: `from_masks` keeps each mask by
    itself, one bit per pixel.

    Attributes:
        segmentation: `(H, W)` integers; a segment's pixels have its entry of `values`, and pixels of no segment have
            a value that is not among them. None where segments may overlap.
        values: `(N,)` int64, the value in `segmentation` of each segment; semantic segmentation has the class there.
        labels: `(N,)` str, class names.
        ids: `(N,)` int64, the classes' positions in the checkpoint's `id2label`.
        scores: `(N,)` float32 in [0, 1]; None for semantic segmentation, which gives none.
        size: (H, W) of the picture, px.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("_bits", "ids", "index", "labels", "scores", "segmentation", "size", "values")

    columns = (
        Structs(
            "segments",
            Field("label", TEXT, "labels"),
            Field("score", FLOAT32, "scores", optional=True),
            Field("id", INT64, "ids"),
            Field("value", INT64, "values"),
            Field("rle", TEXT, "rles"),
        ),
        Structs("background", Field("value", INT64, "other_values"), Field("rle", TEXT, "other_rles")),
        Scalar("height", INT64),
        Scalar("width", INT64),
        Scalar("dtype", TEXT, nullable=True),
    )

    def __init__(
        self,
        segmentation: Any,
        values: Any,
        labels: Sequence[str],
        scores: Any = None,
        ids: Any = None,
        *,
        index: int = 0,
    ) -> None:
        """Checks that everything agrees in length; `ids` are `values` where they are not given.

        Raises:
            ValueError: the map is not `(H, W)` integers, a value stands for two segments, or the lengths differ.
        """
        array = np.array(segmentation)
        if array.ndim != 2 or array.dtype.kind not in "iu":
            raise ValueError(f"a segmentation is an (H, W) array of integers, got {array.shape} {array.dtype}")
        self.segmentation: NDArray[Any] | None = array
        self.size: tuple[int, int] = (array.shape[0], array.shape[1])
        self._bits: NDArray[np.uint8] | None = None
        self._fill(values, labels, scores, ids, index)
        if len(np.unique(self.values)) != len(self.values):
            raise ValueError(f"each segment has a value of its own, got {self.values.tolist()}")

    @classmethod
    def from_masks(
        cls, masks: Any, labels: Sequence[str], scores: Any = None, ids: Any = None, *, index: int = 0
    ) -> Self:
        """Segments that may overlap.

        Args:
            masks: `(N, H, W)` bool, or numbers of which those other than zero belong to the mask.
            labels: N class names.
            scores: `(N,)`, or None.
            ids: `(N,)` class numbers; -1 where they are not given.
            index: the position of the input among the call's inputs.

        Raises:
            ValueError: the masks are not `(N, H, W)`, or the lengths differ.
        """
        array = np.asarray(masks)
        if array.ndim != 3:
            raise ValueError(f"masks are an (N, H, W) array, got {array.shape}")
        self = cls.__new__(cls)
        self.segmentation, self.size = None, (array.shape[1], array.shape[2])
        self._bits = np.packbits(array.astype(bool, copy=False), axis=-1)
        self._fill(range(len(array)), labels, scores, [-1] * len(array) if ids is None else ids, index)
        return self

    def _fill(self, values: Any, labels: Sequence[str], scores: Any, ids: Any, index: int) -> None:
        self.values: NDArray[np.int64] = np.array(values, dtype=np.int64)
        self.labels: NDArray[np.str_] = np.array(labels, dtype=np.str_)
        self.ids: NDArray[np.int64] = np.array(values if ids is None else ids, dtype=np.int64)
        self.scores: NDArray[np.float32] | None = None if scores is None else np.array(scores, dtype=np.float32)
        self.index = index
        columns = [self.values, self.labels, self.ids, *([] if self.scores is None else [self.scores])]
        if {column.shape for column in columns} != {(len(self.values),)}:
            shapes = ", ".join(str(column.shape) for column in columns)
            raise ValueError(f"values, labels, ids and scores are of one length, got the shapes {shapes}")

    def _held(self) -> dict[str, Any]:
        held = {name: getattr(self, name) for name in ("labels", "scores", "ids", "values")}
        held |= {"height": self.size[0], "width": self.size[1], "other_values": [], "other_rles": [], "dtype": None}
        if self.segmentation is None:
            return held | {"rles": [compress(runs(self.mask(i))) for i in range(len(self))]}
        found = {value: compress(lengths) for value, lengths in runs_by_value(self.segmentation).items()}
        nowhere = compress(np.array([self.segmentation.size]))
        held["rles"] = [found.pop(value, nowhere) for value in self.values.tolist()]
        return held | {
            "other_values": list(found),
            "other_rles": [*found.values()],
            "dtype": self.segmentation.dtype.name,
        }

    @classmethod
    def _made(cls, *, rles: Any = (), other_values: Any = (), other_rles: Any = (), **held: Any) -> Self:
        dtype, values = held.pop("dtype"), held.pop("values")
        size = checked_size((held.pop("height"), held.pop("width")))
        masks = (decode({"size": size, "counts": counts}) for counts in (*rles, *other_rles))
        if dtype is None:
            checked_size(size, masks=len(rles), max_pixels=_MAX_BITS)
            made = cls.__new__(cls)
            made.segmentation, made.size = None, size
            made._bits = np.empty((len(rles), size[0], -(-size[1] // 8)), np.uint8)
            for bits, mask in zip(made._bits, masks, strict=True):
                bits[:] = np.packbits(mask, axis=-1)
            made._fill(values, **held)
            return made
        kind = numbers_of(dtype)
        if kind.kind not in "iu":
            raise ValueError(f"a map of segments is of whole numbers, got {dtype!r:.50}")
        segmentation = np.zeros(checked_size(size, max_pixels=_MAX_BYTES // kind.itemsize), kind)
        for value, mask in zip((*values, *other_values), masks, strict=True):
            segmentation[mask] = value
        return cls(segmentation, values, **held)

    def __len__(self) -> int:
        return len(self.values)

    def _row(self, at: int) -> dict[str, Any]:
        from PIL import Image

        return self._item(at, Image.fromarray(self.mask(at).view(np.uint8) * np.uint8(255)))

    def _take(self, key: Any) -> Self:
        subset = type(self).__new__(type(self))
        subset.segmentation, subset.size = self.segmentation, self.size
        subset._bits = None if self._bits is None else self._bits[key].copy()
        scores = None if self.scores is None else self.scores[key]
        subset._fill(self.values[key], self.labels[key].tolist(), scores, self.ids[key], self.index)
        return subset

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Segments) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        limit = 8
        shown = self.labels[:limit].tolist()
        if self.scores is not None:
            shown = [f"{label} {score:.3f}" for label, score in zip(shown, self.scores[:limit].tolist(), strict=True)]
        shown += [f"and {len(self) - limit} more"] if len(self) > limit else []
        return f"Segments([{', '.join(shown)}], size={self.size}, index={self.index})"

    @property
    def masks(self) -> NDArray[np.bool_]:
        """`(N, H, W)` bool, made on each access; `mask(i)` makes one."""
        if not len(self):
            return np.zeros((0, *self.size), dtype=bool)
        return np.stack([self.mask(i) for i in range(len(self))])

    def mask(self, number: int) -> NDArray[np.bool_]:
        """One segment's mask, `(H, W)` bool.

        Raises:
            IndexError: there is no such segment.
        """
        if self._bits is not None:
            return np.unpackbits(self._bits[number], axis=-1, count=self.size[1]).view(bool)
        return np.asarray(self.segmentation == self.values[number])

    @property
    def areas(self) -> NDArray[np.int64]:
        """`(N,)` int64, how many pixels each segment has."""
        if self._bits is not None:
            return np.array([int(self.mask(i).sum()) for i in range(len(self))], dtype=np.int64)
        values, counts = np.unique(np.asarray(self.segmentation), return_counts=True)
        pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        return np.array([pixels.get(value, 0) for value in self.values.tolist()], dtype=np.int64)

    def lines(self) -> list[str]:
        """Short texts for a terminal: a segment each, its class, score where there is one, and share of the picture."""
        total = max(1, self.size[0] * self.size[1])
        scores = [""] * len(self) if self.scores is None else [f" {score:.4f}" for score in self.scores.tolist()]
        rows = zip(self.labels.tolist(), scores, self.areas.tolist(), strict=True)
        return [f"{label}{score}, {area / total:.1%} of the picture" for label, score, area in rows] or ["no segments"]

    def to_dict(self) -> list[dict[str, Any]]:
        """`[{"score": float | None, "label": str, "mask": {"size": [H, W], "counts": str}}, …]`, in COCO's RLE."""
        return [self._item(i, encode(self.mask(i))) for i in range(len(self))]

    def _item(self, number: int, mask: Any) -> dict[str, Any]:
        score = None if self.scores is None else round(float(self.scores[number]), 6)  # as the reference rounds it
        return {"score": score, "label": str(self.labels[number]), "mask": mask}

    def plot(self, image: Any) -> Image.Image:
        """Lays a colour over each segment of a copy of the picture, and its label where it is widest.

        Args:
            image: the segmented picture, in any form that the pipeline takes.

        Returns:
            An RGB picture of the same size. In semantic segmentation each class has its own colour, otherwise each
            object.
        """
        from PIL import Image

        canvas = to_rgb(image)
        if canvas.size != self.size[::-1]:
            raise ValueError(f"a picture of {self.size[1]}x{self.size[0]} px is expected, got {canvas.size}")
        pixels = np.asarray(canvas).astype(np.float32)
        numbers = range(len(self)) if self.scores is not None else self.ids.tolist()
        anchors, width = [], max(1, line_width(canvas) // 2)
        for i, number in enumerate(numbers):
            mask, shade = self.mask(i), np.array(colour(number), dtype=np.float32)
            edge = contour(mask, width)
            pixels[mask] = pixels[mask] * (1 - _ALPHA) + shade * _ALPHA
            pixels[edge] = pixels[edge] * (1 - _OUTLINE) + shade * _OUTLINE
            anchors.append(_widest(mask))
        drawn = Image.fromarray(np.uint8(pixels.round()))
        tags = Tags(drawn)
        for i in np.argsort(-self.areas, kind="stable").tolist():
            anchor = anchors[i]
            if anchor is not None:
                score = None if self.scores is None else float(self.scores[i])
                tags.add((*anchor, *anchor), str(self.labels[i]), score, colour(numbers[i]))
        tags.draw()
        return drawn

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict()` as JSON, UTF-8; or `segmentation` as a grey PNG where the path ends in `.png`.

        Raises:
            ValueError: another suffix; segments that may overlap, or with values outside [0, 65535], as PNG.
        """
        if suffix_of(path, (".json", ".png"), what="a result of the kind Segments") == ".json":
            super().save(path)
            return
        values = self.segmentation
        if values is None or (values.size and (values.min() < 0 or values.max() > np.iinfo(np.uint16).max)):
            raise ValueError("only a segmentation of values from 0 to 65,535 can be saved as PNG; save it as JSON")
        from PIL import Image

        small = not values.size or values.max() <= np.iinfo(np.uint8).max
        with written_whole(path) as part:
            Image.fromarray(values.astype(np.uint8 if small else np.uint16)).save(part, "PNG")


def _widest(mask: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Where a label goes: a little left of the middle of the longest run among a mask's rows; None for an empty one."""
    padded = np.pad(mask, ((0, 0), (1, 1))).view(np.int8)
    change = np.diff(padded, axis=1)
    rows, starts = np.nonzero(change == 1)
    _, ends = np.nonzero(change == -1)
    if not len(rows):
        return None
    lengths = ends - starts
    longest = np.flatnonzero(lengths >= 0.95 * lengths.max())
    best = longest[len(longest) // 2]
    return float(starts[best] + lengths[best] * 0.3), float(rows[best] + 6)
