"""How much of each pixel of a picture belongs to what is in front."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.columns import Array
from sensorium.results.drawing import same_size, side_by_side, to_rgb
from sensorium.results.map_files import save_map
from sensorium.results.result import Result

if TYPE_CHECKING:
    import torch
    from PIL import Image

_LIGHT, _DARK = 235, 195
"""The greys of the board that shows through in drawings."""


class AlphaMatte(Result):
    """The opacity of what is in front, for each pixel.

    Attributes:
        alpha: `(H, W)` float32 in [0, 1] of the picture's size: 1 in front, 0 behind, and between the two where a pixel
            shows some of both, as at hair.
        foreground: `(H, W, 3)` float32 in [0, 1], the colours of what is in front, RGB multiplied by alpha, so that
            `foreground + (1 - alpha) * background` is a picture; None from models that do not tell them.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("alpha", "foreground", "index")

    columns = (Array("alpha"), Array("foreground", nullable=True))

    def __init__(self, alpha: Any, foreground: Any = None, *, index: int = 0) -> None:
        """Checks that the numbers are a matte.

        Raises:
            ValueError: alpha is not `(H, W)` numbers in [0, 1], or the foreground not as many px of RGB in [0, 1].
        """
        self.alpha = _shares("alpha", alpha, axes=2)
        self.foreground = None if foreground is None else _shares("foreground", foreground, axes=3)
        if self.foreground is not None and self.foreground.shape != (*self.size, 3):
            raise ValueError(f"foreground has the shape {(*self.size, 3)}, as alpha, got {self.foreground.shape}")
        self.index = index

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture, px."""
        return self.alpha.shape[0], self.alpha.shape[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.alpha, dtype=dtype, copy=copy)

    def torch(self) -> torch.Tensor:
        """`alpha` as a torch tensor that shares its memory."""
        import torch

        return torch.from_numpy(self.alpha)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AlphaMatte):
            return NotImplemented
        ours, theirs = self.foreground, other.foreground
        same = ours is theirs if ours is None or theirs is None else np.array_equal(ours, theirs)
        return same and np.array_equal(self.alpha, other.alpha)

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        height, width = self.size
        return f"AlphaMatte({width}x{height} px, {', '.join(self.lines())}, index={self.index})"

    def to_dict(self) -> dict[str, Any]:
        """`{"alpha": H lists of W floats, "foreground": H lists of W lists of three, or None}`."""
        return {
            "alpha": self.alpha.tolist(),
            "foreground": None if self.foreground is None else self.foreground.tolist(),
        }

    def records(self) -> list[dict[str, Any]]:
        """One flat dict: the size, and which shares of the pixels are in front, behind and between; not the matte."""
        height, width = self.size
        return [{"width": width, "height": height, **self._told()}]

    def lines(self) -> list[str]:
        """A short text for a terminal: which shares of the pixels are in front and between."""
        told = self._told()
        return [f"{told['in_front']:.1%} in front, {told['between']:.1%} between"]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Alpha, and the foreground where there is one."""
        return {"alpha": self.alpha} | ({} if self.foreground is None else {"foreground": self.foreground})

    def cutout(self, image: Any) -> Image.Image:
        """The picture with alpha: what is behind is transparent.

        Its colours are the picture's own, also where a pixel shows some of what is behind.

        Args:
            image: the picture, in any form that the pipeline takes.

        Returns:
            An RGBA picture of 8 bit.

        Raises:
            ValueError: a picture of another size.
        """
        from PIL import Image

        cut = same_size(to_rgb(image), self.size)
        cut.putalpha(Image.fromarray(self._levels(8)))
        return cut

    def plot(self, image: Any) -> Image.Image:
        """Draws what is in front on a chequered board, beside the picture.

        Args:
            image: the picture, in any form that the pipeline takes.

        Returns:
            An RGB picture; where both are wide, one is above the other.

        Raises:
            ValueError: a picture of another size.
        """
        from PIL import Image

        canvas = to_rgb(image)
        cut = self.cutout(canvas)
        height, width = self.size
        square = max(4, min(height, width) // 45)
        odd = (np.arange(height)[:, None] // square + np.arange(width) // square) % 2
        board = Image.fromarray(np.where(odd, np.uint8(_DARK), np.uint8(_LIGHT))).convert("RGB")
        board.paste(cut, mask=cut)
        return side_by_side(canvas, board)

    def save(self, path: str | os.PathLike[str], *, bits: int = 16) -> None:
        """Writes alpha as a grey PNG, all exactly as an uncompressed `.npz`, or `to_dict()` as JSON.

        Args:
            path: where to.
            bits: of a PNG: 8 or 16. Its white is 1 and its black 0.

        Raises:
            ValueError: the path ends in neither `.png`, `.npz` nor `.json`, or other bits than a PNG has.
        """
        save_map(self, path, levels=self._levels, bits=bits)

    def _levels(self, bits: int) -> NDArray[Any]:
        """`(H, W)` uint8 or uint16."""
        levels = np.rint(self.alpha * np.float32((1 << bits) - 1))
        return np.asarray(levels, np.uint8 if bits == 8 else np.uint16)

    def _told(self) -> dict[str, float]:
        """Shares of the pixels, counted as drawn in 8 bit."""
        levels, count = self._levels(8), self.alpha.size
        front, behind = (int(np.count_nonzero(levels == level)) for level in (255, 0))
        return {"in_front": front / count, "behind": behind / count, "between": (count - front - behind) / count}


def _shares(name: str, values: Any, *, axes: int) -> NDArray[np.float32]:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != axes or not array.size or not bool(((array >= 0) & (array <= 1)).all()):
        shape = "(H, W)" if axes == 2 else "(H, W, 3)"
        raise ValueError(f"{name} is an {shape} array of numbers in [0, 1], got the shape {array.shape}")
    return array
