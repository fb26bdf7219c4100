"""Parts of a picture that a result has found, each as a picture of its own that knows where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.detections import Detections
from sensorium.results.masks import Masks
from sensorium.results.placing import placed
from sensorium.results.poses import Poses
from sensorium.results.result import Result
from sensorium.results.row import Row
from sensorium.results.segments import Segments

Colour = tuple[int, int, int]


class Crop:
    """A part of a picture, which every pipeline that takes pictures takes.

    Attributes:
        pixels: `(h, w, 3)` uint8, RGB.
        box: (left, top, right, bottom) of the part, whole px of the picture; right and bottom lie just outside.
        inner: (left, top, right, bottom) of the object within the part, px of the part.
        size: (height, width) of the picture, px.
        found: the result that it is of.
        number: which of its objects.
    """

    __slots__ = ("box", "found", "inner", "number", "pixels", "size")

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        box: tuple[int, int, int, int],
        *,
        inner: tuple[float, float, float, float],
        size: tuple[int, int],
        found: Result,
        number: int,
    ) -> None:
        self.pixels, self.box, self.inner, self.size = pixels, box, inner, size
        self.found, self.number = found, number

    @property
    def row(self) -> Row:
        """The object, as the result has it: its label, its score and so on."""
        row: Row = self.found[self.number]  # type: ignore[index]  # all that have boxes have rows
        return row

    @property
    def index(self) -> int:
        """The position of the picture among the inputs of the call that has found it."""
        return self.found.index

    @property
    def source(self) -> str | None:
        """The path or URL that the picture was; None where it had none."""
        return self.found.source

    def bring_back(self, result: Any) -> Any:
        """What was found on this part, on the picture itself.

        Args:
            result: of this part. Boxes, points, poses, masks and segments move to where they lie on the picture, with
                its size; any other result stays as it is.

        Returns:
            A result of the same kind, with the picture's `index` and `source`.
        """
        return placed(result, self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The pixels."""
        return np.array(self.pixels, dtype=dtype, copy=True if copy else None)

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        return f"Crop({width}x{height} px at {self.box[0]},{self.box[1]}, number={self.number}, index={self.index})"


def crops_of(
    found: Result,
    image: NDArray[np.uint8],
    *,
    margin: float = 0.0,
    keep: Callable[[Row], bool] | None = None,
    background: Colour | None = None,
) -> Iterator[Crop]:
    """Cuts the objects of a result out of its picture.

    Args:
        found: `Detections`, `Poses`, `Masks` or `Segments`.
        image: `(H, W, 3)` uint8, the picture that they were found on.
        margin: how much is cut out around an object on each side, in shares of its box's width and height.
        keep: says of a row of the result whether it is cut out; None for all.
        background: RGB, what is put in place of all that does not belong to a mask; None for the picture as it is.

    Yields:
        A part for each object that has a pixel on the picture, in the order of the result.

    Raises:
        TypeError: a result without boxes, or a background for one without masks.
    """
    height, width = image.shape[:2]
    boxes = boxes_of(found)
    if background is not None and not isinstance(found, Masks | Segments):
        raise TypeError(f"background is for masks, and a {type(found).__name__} has boxes alone; leave it out")
    for number, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        on_it = x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0
        if not on_it or not np.isfinite((x0, y0, x1, y1)).all():
            continue
        if keep is not None and not keep(found[number]):  # type: ignore[index]
            continue
        across, down = margin * (x1 - x0), margin * (y1 - y0)
        left, top = max(0, int(np.floor(x0 - across))), max(0, int(np.floor(y0 - down)))
        right, bottom = min(width, int(np.ceil(x1 + across))), min(height, int(np.ceil(y1 + down)))
        pixels = image[top:bottom, left:right].copy()  # or a small part would keep the whole picture
        if background is not None and isinstance(found, Masks | Segments):
            pixels[~found.mask(number)[top:bottom, left:right]] = background
        inner = (max(x0, 0) - left, max(y0, 0) - top, min(x1, width) - left, min(y1, height) - top)
        box = left, top, right, bottom
        yield Crop(pixels, box, inner=inner, size=(height, width), found=found, number=number)


@singledispatch
def boxes_of(found: Any) -> NDArray[np.float64]:
    """`(N, 4)` xyxy px: the boxes of a result's objects; right and bottom lie just outside."""
    raise TypeError(
        f"a {type(found).__name__} has no boxes to cut out; Detections, Poses, Masks and Segments have some"
    )


@boxes_of.register
def _(found: Detections) -> NDArray[np.float64]:
    return found.xyxy.astype(np.float64)


@boxes_of.register
def _(found: Poses) -> NDArray[np.float64]:
    return found.boxes.astype(np.float64)


@boxes_of.register
def _(found: Masks) -> NDArray[np.float64]:
    boxes = found.boxes.astype(np.float64)
    boxes[found.areas > 0, 2:] += 1  # their edges lie within the mask
    return boxes


@boxes_of.register
def _(found: Segments) -> NDArray[np.float64]:
    boxes = np.zeros((len(found), 4))
    for number in range(len(found)):
        mask = found.mask(number)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            boxes[number] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
