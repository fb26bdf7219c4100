"""The window around a box, cut out of a picture at the size that a model of poses takes.

Two references cut in two ways: ViTPose's warps bytes, and rounds to grey levels; Sapiens 2's samples floats. Both put
the centres of the corner pixels on the window's corners: Huang et al., "The Devil is in the Details: Delving into
Unbiased Data Processing for Human Pose Estimation", CVPR 2020, https://arxiv.org/abs/1911.07524.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from sensorium.errors import CheckpointError, InputError

MARGIN = 1.25
"""How much longer a window is than its box."""

_MOST_PX = 2**14
_MOST_PIXELS = 2**25


@dataclass(frozen=True)
class BoxCrop:
    """Cut the window around a box out of a picture; as a recipe's step, around the whole picture.

    Attributes:
        size: (height, width) of what is cut out, px.
        sampled: whether it is sampled in floats, bicubically where it grows, as Sapiens 2's reference does.
    """

    kind: ClassVar[str] = "box_crop"
    size: tuple[int, int]
    sampled: bool = False

    def __post_init__(self) -> None:
        whole = len(self.size) == 2 and all(isinstance(side, int) and 2 <= side < _MOST_PX for side in self.size)
        if not whole or self.size[0] * self.size[1] > _MOST_PIXELS:
            raise CheckpointError(
                f"expected a window of 2 to {_MOST_PX - 1} px a side, and {_MOST_PIXELS:,} px in all, got {self!s:.200}"
                ". Correct the checkpoint's preprocessor_config.json, or pass processor=."
            )

    def windows(self, boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """The windows around boxes, of the shape that the model sees.

        Args:
            boxes: `(N, 4)`, xyxy px of the picture.

        Returns:
            `(N, 4)`: (x, y) of the centre, width and height, px of the picture.
        """
        sides = boxes[:, 2:] - boxes[:, :2]
        ratio = self.size[1] / self.size[0]
        if self.sampled:  # in float32 from the start, and with the margin before the shape
            corners, sides = boxes[:, :2].astype(np.float32), sides.astype(np.float32)
            centres = corners + np.float32(0.5) * sides
            sides = sides * np.float32(MARGIN)
        else:
            centres = (boxes[:, :2] + sides * 0.5).astype(np.float32)
        width, height = sides.T
        wide = width > height * sides.dtype.type(ratio)
        shaped = np.where(wide, [width, width / sides.dtype.type(ratio)], [height * sides.dtype.type(ratio), height]).T
        if not self.sampled:  # in units of 200 px, as COCO's people are measured
            shaped = (shaped / 200.0).astype(np.float32) * np.float32(MARGIN) * np.float32(200)
        return np.concatenate([centres, shaped.astype(np.float32)], axis=1)

    def __call__(self, image: Tensor) -> Tensor:
        """The window around the whole of `(3, H, W)`."""
        return next(self.cut(image, self.windows(_box_of(image.shape[1], image.shape[2]))))

    def whole(self, height: int, width: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """The centre and the length of the window around a whole picture, px: along its height, and its width."""
        x, y, across, down = self.windows(_box_of(height, width))[0].tolist()
        return (y, down), (x, across)

    def cut(self, image: Tensor, windows: NDArray[np.float32]) -> Iterator[Tensor]:
        """Cuts windows out, one after the other; what lies beyond the picture is black.

        Args:
            image: `(3, H, W)`, uint8, or float32 in [0, 255].
            windows: `(N, 4)`, as `windows` gives them.

        Yields:
            `(3, height, width)` of the dtype of `image`; float32 where it is sampled.

        Raises:
            InputError: the picture is one pixel wide or high, and sampled.
        """
        image = image.cpu()  # from a device that has decoded it
        if not self.sampled:
            pixels = image.permute(1, 2, 0)
            for window in windows:
                yield _warped(pixels, window, self.size)
            return
        if min(image.shape[1:]) < 2:
            raise InputError(
                f"a picture of {image.shape[2]}x{image.shape[1]} px is too small for this checkpoint, which needs 2 px "
                "a side. Give a larger picture.",
                code="too-narrow",
            )
        floats = image.to(torch.float32)[None]
        for window in windows:
            yield _sampled(floats, window, self.size)

    def output_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """The size after this step, which is always the same."""
        return self.size


def _box_of(height: int, width: int) -> NDArray[np.float64]:
    return np.array([[0.0, 0.0, width, height]])


def _warped(pixels: Tensor, window: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """Bilinear in float64, and rounded half up where the picture is of bytes, as `scipy.ndimage` does it.

    Args:
        pixels: `(H, W, 3)`.
        window: of it.
        size: (height, width) of the result, px.
    """
    x, y, width, height = (np.float32(value) for value in window)
    first_row, rows = _line(y, height, size[0], pixels.shape[0])
    first_column, columns = _line(x, width, size[1], pixels.shape[1])
    done = torch.zeros((*size, 3), dtype=pixels.dtype)
    if len(rows) and len(columns):
        (upper, lower), (left, right) = _neighbours(rows, pixels.shape[0]), _neighbours(columns, pixels.shape[1])
        share_y, share_x = (torch.from_numpy(at - np.floor(at)) for at in (rows, columns))
        above, below = (1.0 - share_y)[:, None, None], share_y[:, None, None]
        before, behind = (1.0 - share_x)[:, None], share_x[:, None]
        mixed: Tensor | None = None
        for row, by_row in ((upper, above), (lower, below)):
            line = pixels.index_select(0, row)
            for column, by_column in ((left, before), (right, behind)):
                part = line.index_select(1, column).to(torch.float64).mul_(by_row).mul_(by_column)
                mixed = part if mixed is None else mixed.add_(part)
        assert mixed is not None
        if pixels.dtype == torch.uint8:
            mixed = mixed.add_(0.5).clamp_(max=255.0)  # the cast cuts off
        done[first_row : first_row + len(rows), first_column : first_column + len(columns)] = mixed.to(pixels.dtype)
    return done.permute(2, 0, 1)


def _line(centre: np.float32, length: np.float32, count: int, limit: int) -> tuple[int, NDArray[np.float64]]:
    """Where the pixels of a window lie along one axis of a picture.

    Args:
        centre: of the window, px.
        length: of the window, px.
        count: of its pixels.
        limit: the picture's pixels.

    Returns:
        The first pixel within the picture; and where each that is lies there, `(n,)`.
    """
    # The reference makes a float32 matrix from the picture to the window, and turns it round in float64.
    scale = (count - 1.0) / np.float64(length)
    forth = np.float64(np.float32(scale))
    shift = np.float64(np.float32(scale * np.float64(np.float32(-centre + np.float32(0.5) * length))))
    back = 1.0 / forth
    places = -(back * shift) + np.arange(count) * back
    within = np.flatnonzero((places >= 0) & (places <= limit - 1))
    first = int(within[0]) if len(within) else 0
    return first, places[within]


def _neighbours(places: NDArray[np.float64], limit: int) -> tuple[Tensor, Tensor]:
    before = np.floor(places).astype(np.int64)
    return torch.from_numpy(before), torch.from_numpy(np.minimum(before + 1, limit - 1))


def _sampled(image: Tensor, window: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """Bilinear where a window shrinks along one axis at least, bicubic where it grows.

    Args:
        image: `(1, 3, H, W)` float32.
        window: of it.
        size: (height, width) of the result, px.
    """
    height, width = image.shape[2:]
    x, y, across, down = torch.from_numpy(window)
    scale_x, scale_y = (size[1] - 1) / across, (size[0] - 1) / down
    columns = torch.arange(size[1], dtype=torch.float32) / scale_x + x - 0.5 * across
    rows = torch.arange(size[0], dtype=torch.float32) / scale_y + y - 0.5 * down
    columns, rows = 2.0 * columns / (width - 1) - 1.0, 2.0 * rows / (height - 1) - 1.0
    grid = torch.stack([columns.expand(size[0], -1), rows[:, None].expand(-1, size[1])], dim=-1)
    mode = "bilinear" if min(float(scale_x), float(scale_y)) < 1.0 else "bicubic"
    cut: Tensor = grid_sample(image, grid[None], mode=mode, padding_mode="zeros", align_corners=True)
    return cut[0]
