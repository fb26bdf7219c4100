"""Masks of named objects through a whole film."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import UnknownNameError
from sensorium.results import rle
from sensorium.results.columns import Field, Structs
from sensorium.results.frame_masks import FrameMasks
from sensorium.results.kinds import FLOAT32, FLOAT64, INT64, TEXT
from sensorium.results.result import Result, put_source

if TYPE_CHECKING:
    from PIL import Image


class VideoMasks(Result):
    """The masks of the objects of a film, frame by frame; `result[i]` and iterating give `FrameMasks`.

    Attributes:
        frames: the frames that were looked at, in order, with the same objects on each.
        index: the position of the film among the call's inputs.
    """

    __slots__ = ("frames", "index")

    columns = (
        Structs(
            "frames",
            Field("frame", INT64, "numbers"),
            Field("time_s", FLOAT64, "times", optional=True),
            Field("height", INT64, "heights"),
            Field("width", INT64, "widths"),
        ),
        Structs("objects", Field("object_id", TEXT, "names")),
        Structs(
            "masks",
            Field("rle", TEXT, "rles"),
            Field("score", FLOAT32, "scores"),
            Field("iou", FLOAT32, "ious"),
        ),
    )

    def __init__(self, frames: Sequence[FrameMasks], *, index: int = 0) -> None:
        """Checks that all agree.

        Raises:
            ValueError: there is no frame, or the frames' objects differ.
        """
        if not frames or any(one.object_ids != frames[0].object_ids for one in frames):
            raise ValueError("frames are one at least, with the same objects on each")
        self.frames, self.index = list(frames), index

    @property
    def object_ids(self) -> list[str]:
        """The names of the objects."""
        return self.frames[0].object_ids

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[FrameMasks]:
        return iter(self.frames)

    @overload
    def __getitem__(self, at: int) -> FrameMasks: ...
    @overload
    def __getitem__(self, at: slice) -> list[FrameMasks]: ...
    def __getitem__(self, at: int | slice) -> FrameMasks | list[FrameMasks]:
        return self.frames[at]

    def scores_of(self, object_id: str) -> NDArray[np.float32]:
        """`(T,)` float32: how sure the model is, frame by frame, that an object is in sight.

        Raises:
            UnknownNameError: a KeyError, too: there is no such object.
        """
        if object_id not in self.object_ids:
            raise UnknownNameError("object", object_id, self.object_ids)
        at = self.object_ids.index(object_id)
        return np.array([one.scores[at] for one in self.frames], np.float32)

    def _held(self) -> dict[str, Any]:
        times = [one.time_s for one in self.frames]
        return {
            "numbers": [one.frame for one in self.frames],
            "times": None if None in times else times,
            "heights": [one.size[0] for one in self.frames],
            "widths": [one.size[1] for one in self.frames],
            "names": self.object_ids,
            "rles": [counts["counts"] for one in self.frames for counts in one.rle],
            "scores": np.concatenate([one.scores for one in self.frames]),
            "ious": np.concatenate([one.ious for one in self.frames]),
        }

    @classmethod
    def _made(cls, *, index: int = 0, **held: Any) -> VideoMasks:
        names, times = held["names"], held["times"]
        numbers, count = held["numbers"], len(held["names"])
        if len(held["rles"]) != len(numbers) * count:
            raise ValueError(f"{len(numbers)} frames with {count} objects have as many masks, got {len(held['rles'])}")
        frames = []
        for at, number in enumerate(numbers):
            part = slice(at * count, (at + 1) * count)
            size = rle.checked_size((held["heights"][at], held["widths"][at]))
            runs = [rle.decompress(counts) for counts in held["rles"][part]]
            one = FrameMasks(runs, size, names, held["scores"][part], held["ious"][part], frame=number, index=index)
            put_source(one, None, None if times is None else times[at])
            frames.append(one)
        return cls(frames, index=index)

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, VideoMasks) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        return f"VideoMasks({len(self)} frames of {', '.join(self.object_ids)}, index={self.index})"[:500]

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain JSON: `FrameMasks.to_dict()` of each frame."""
        return [one.to_dict() for one in self.frames]

    def records(self) -> list[dict[str, Any]]:
        """One flat dict for each object on each frame: `FrameMasks.records()`."""
        return [row for one in self.frames for row in one.records()]

    def lines(self) -> list[str]:
        """Short texts for a terminal, one an object: its name, and on how many frames it is in sight."""
        seen = np.array([one.areas > 0 for one in self.frames]).sum(0)
        counts = zip(self.object_ids, seen.tolist(), strict=True)
        return [f"{name}: in sight on {count} of {len(self)} frames" for name, count in counts]

    def to_coco(
        self, *, first_id: int = 1, shapes: Literal["boxes", "rle", "polygons"] | None = None
    ) -> list[dict[str, Any]]:
        """COCO's annotations, with `image_id` the frame's number and `category_id` the position of the object's name.

        Args:
            first_id: the number of the first annotation.
            shapes: as in `FrameMasks.to_coco`.
        """
        rows: list[dict[str, Any]] = []
        for one in self.frames:
            rows += one.to_coco(image_id=one.frame, first_id=first_id + len(rows), shapes=shapes)
        return rows

    def plot(self, image: Any, *, frame: int | None = None, alpha: float = 0.5) -> Image.Image:
        """Draws the masks of one frame on it.

        Args:
            image: the frame; one that `frames(…)` gives knows its own number.
            frame: the frame's number, where the picture does not know it; by default the first that was looked at.
            alpha: how much of the colour, in [0, 1].

        Raises:
            ValueError: a frame that was not looked at, or one of another size.
        """
        number = getattr(image, "index", None) if frame is None else frame
        wanted = self.frames[0].frame if number is None else number
        for one in self.frames:
            if one.frame == wanted:
                return one.plot(image, alpha=alpha)
        first, last = self.frames[0].frame, self.frames[-1].frame
        raise ValueError(f"masks are of the frames {first} to {last}, got frame {wanted}")
