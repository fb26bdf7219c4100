"""Parts of a picture: which pixels belong to which class or object."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Field, Scalar, Structs
from sensorium.results.drawing import to_rgb
from sensorium.results.exporting.categories import Given
from sensorium.results.exporting.coco import read_masks
from sensorium.results.kinds import FLOAT32, INT64, TEXT, numbers_of
from sensorium.results.mask_drawing import lay_over, name_masks
from sensorium.results.mask_rows import MaskRows
from sensorium.results.palette import colour
from sensorium.results.rle import checked_runs, checked_size, compress, decompress, encode, fill, runs, runs_by_value
from sensorium.results.saving import suffix_of, write_png
from sensorium.results.segment_map import SegmentMap

if TYPE_CHECKING:
    from PIL import Image

_OUTLINE, _ALPHA = 0.9, 0.5
_MAX_BITS = 2**32  # px of all masks of one row that is read, one bit each


class Segments(MaskRows):
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

    __slots__ = ("_bits", "_map", "ids", "index", "labels", "scores", "size", "values")

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
        self._of_map(SegmentMap(array), values=values, labels=labels, scores=scores, ids=ids, index=index)

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
        self = cls._of_bits(list(np.packbits(array.astype(bool, copy=False), axis=-1)), array.shape[1:])
        self._fill(range(len(array)), labels, scores, [-1] * len(array) if ids is None else ids, index)
        return self

    def _of_map(self, segment_map: SegmentMap, **held: Any) -> None:
        self._map: SegmentMap | None = segment_map
        self.size: tuple[int, int] = segment_map.size
        self._bits: list[NDArray[Any]] = []  # of masks that may overlap: `(H, W / 8)` uint8, or `(R,)` runs
        self._fill(**held)
        if len(np.unique(self.values)) != len(self.values):
            raise ValueError(f"each segment has a value of its own, got {self.values.tolist()}")

    @property
    def segmentation(self) -> NDArray[Any] | None:
        """The map; of a row that was read it is made when it is first asked for, and kept."""
        return None if self._map is None else self._map.array

    def _fill(self, values: Any, labels: Sequence[str], scores: Any, ids: Any, index: int) -> None:
        self.values: NDArray[np.int64] = np.array(values, dtype=np.int64)
        self.labels: NDArray[np.str_] = np.array(labels, dtype=np.str_)
        self.ids: NDArray[np.int64] = np.array(values if ids is None else ids, dtype=np.int64)
        self.scores: NDArray[np.float32] | None = None if scores is None else np.array(scores, dtype=np.float32)
        self.index = index
        columns = [self.values, self.labels, self.ids, *([] if self.scores is None else [self.scores])]
        if {column.shape for column in columns} != {(len(self.values),)}:
            shapes = [column.shape for column in columns]
            raise ValueError(f"values, labels, ids and scores are of one length, got the shapes {shapes}")

    def _held(self) -> dict[str, Any]:
        held = {name: getattr(self, name) for name in ("labels", "scores", "ids", "values")}
        held |= {"height": self.size[0], "width": self.size[1], "other_values": [], "other_rles": [], "dtype": None}
        held["rles"] = [compress(lengths) for lengths in self._mask_runs()]
        if self.segmentation is None:
            return held
        all_runs, own = runs_by_value(self.segmentation), set(self.values.tolist())
        others = {value: compress(lengths) for value, lengths in all_runs.items() if value not in own}
        told = {"other_values": list(others), "other_rles": [*others.values()], "dtype": self.segmentation.dtype.name}
        return held | told

    def _mask_runs(self) -> list[NDArray[np.int64]]:
        """The runs of each segment's mask."""
        if self.segmentation is None:
            return [bits if bits.ndim == 1 else runs(self.mask(i)) for i, bits in enumerate(self._bits)]
        found = runs_by_value(self.segmentation)
        nowhere = np.array([self.segmentation.size])
        return [found.get(value, nowhere) for value in self.values.tolist()]

    def _named(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32] | None]:
        return self.labels.tolist(), self.ids, self.scores

    @classmethod
    def from_coco(
        cls,
        annotations: Iterable[Mapping[str, Any]],
        *,
        categories: Given | None = None,
        size: tuple[int, int] | None = None,
        index: int = 0,
    ) -> Self:
        """Segments of one picture's COCO annotations, which may overlap.

        Args:
            annotations: with `segmentation` as RLE or polygons, filled as pycocotools does, and `category_id`.
            categories: a name for each number, or COCO's list; None for the numbers as text.
            size: (height, width) of the picture, px; needed where no mask is RLE.
            index: the position of the input.

        Raises:
            ValueError: an annotation is not as described, or they are of several pictures; the size is not known.
        """
        found = read_masks(annotations, categories, size)
        assert found.size is not None
        made = cls._of_bits(list(found.runs or ()), found.size)
        made._fill(range(len(found.labels)), found.labels, found.scores, found.ids, index)
        return made

    @classmethod
    def _made(cls, *, rles: Any = (), other_values: Any = (), other_rles: Any = (), **held: Any) -> Self:
        dtype, values = held.pop("dtype"), held.pop("values")
        size = checked_size((held.pop("height"), held.pop("width")))
        lengths = [decompress(counts) for counts in (*rles, *other_rles)]
        if dtype is None:
            if len(other_rles):
                raise ValueError("segments that may overlap have no background")
            checked_size(size, masks=len(rles), max_pixels=_MAX_BITS)
            made = cls._of_bits([checked_runs(each, size) for each in lengths], size)
            made._fill(values, **held)
            return made
        made = cls.__new__(cls)
        pixels = SegmentMap.from_runs(size, numbers_of(dtype), (*values, *other_values), lengths)
        made._of_map(pixels, values=values, **held)
        return made

    @classmethod
    def _of_bits(cls, bits: list[NDArray[Any]], size: tuple[int, int]) -> Self:
        """Segments that may overlap, without what is told of them."""
        made = cls.__new__(cls)
        made._map, made.size, made._bits = None, size, bits
        return made

    def __len__(self) -> int:
        return len(self.values)

    def _row(self, at: int) -> dict[str, Any]:
        from PIL import Image

        return self._item(at, Image.fromarray(self.mask(at).view(np.uint8) * np.uint8(255)))

    def _take(self, key: Any) -> Self:
        subset = type(self).__new__(type(self))
        subset._map, subset.size = self._map, self.size
        subset._bits = [] if self._map else [self._bits[i].copy() for i in np.arange(len(self))[key]]
        scores = None if self.scores is None else self.scores[key]
        subset._fill(self.values[key], self.labels[key].tolist(), scores, self.ids[key], self.index)
        return subset

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Segments) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        limit = 8
        scores = [""] * len(self) if self.scores is None else [f" {score:.3f}" for score in self.scores.tolist()]
        shown = [label + score for label, score in zip(self.labels[:limit].tolist(), scores, strict=False)]
        shown += [f"and {len(self) - limit} more"] if len(self) > limit else []
        return f"Segments([{', '.join(shown)}], size={self.size}, index={self.index})"

    @property
    def masks(self) -> NDArray[np.bool_]:
        """`(N, H, W)` bool, made on each access; `mask(i)` makes one."""
        return np.array([self.mask(i) for i in range(len(self))], dtype=bool).reshape(len(self), *self.size)

    def mask(self, number: int) -> NDArray[np.bool_]:
        """One segment's mask, `(H, W)` bool.

        Raises:
            IndexError: there is no such segment.
        """
        if self._map is None and self._bits[number].ndim == 1:
            return np.ascontiguousarray(fill(self._bits[number], self.size))
        if self._map is None:
            return np.unpackbits(self._bits[number], axis=-1, count=self.size[1]).view(bool)
        return np.asarray(self.segmentation == self.values[number])

    @property
    def areas(self) -> NDArray[np.int64]:
        """`(N,)` int64, how many pixels each segment has."""
        return np.array([lengths[1::2].sum() for lengths in self._mask_runs()], dtype=np.int64)

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
        canvas = to_rgb(image)
        if canvas.size != self.size[::-1]:
            raise ValueError(f"a picture of {self.size[1]}x{self.size[0]} px is expected, got {canvas.size}")
        numbers = range(len(self)) if self.scores is not None else self.ids.tolist()
        colours, runs = [colour(number) for number in numbers], self._mask_runs()
        lay_over(canvas, zip(runs, colours, strict=True), alpha=_ALPHA, outline=_OUTLINE)
        order = np.argsort(-self.areas, kind="stable").tolist()
        scores = None if self.scores is None else self.scores[order].tolist()
        largest_first = [runs[i] for i in order], self.labels[order].tolist(), scores, [colours[i] for i in order]
        name_masks(canvas, *largest_first)
        return canvas

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
        write_png(path, values)
