"""Which way the surface at each pixel of a picture faces."""

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

_OFF = 1e-3  # how far a length may be from 1


class NormalMap(Result):
    """A unit vector for each pixel, at right angles to the surface that it shows.

    Attributes:
        normals: `(H, W, 3)` float32 of the picture's size, the x, y and z of unit vectors in the camera's frame, whose
            axes point as in the model's training data. A vector is zero where the model gives no direction.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("index", "normals")

    columns = (Array("normals"),)

    def __init__(self, normals: Any, *, index: int = 0) -> None:
        """Checks that the numbers are a map.

        Raises:
            ValueError: the map is not `(H, W, 3)` finite numbers, or a vector is longer or shorter than 1, but not 0.
        """
        array = np.asarray(normals, dtype=np.float32)
        if array.ndim != 3 or array.shape[2] != 3 or not array.size or not np.isfinite(array).all():
            raise ValueError(f"a normal map is an (H, W, 3) array of finite numbers, got the shape {array.shape}")
        lengths = np.linalg.norm(array, axis=2)
        wrong = (np.abs(lengths - 1) > _OFF) & (lengths > 0)
        if wrong.any():
            raise ValueError(f"a normal map holds vectors of the length 1, or 0, got one of {lengths[wrong][0]:.6g}")
        self.normals: NDArray[np.float32] = array
        self.index = index

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture, px."""
        return self.normals.shape[0], self.normals.shape[1]

    @property
    def image(self) -> Image.Image:
        """The map in the usual colours, RGB of 8 bit: x, y and z are red, green and blue, and -1 to 1 is 0 to 255."""
        from PIL import Image

        return Image.fromarray(self._levels(8))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.normals, dtype=dtype, copy=copy)

    def torch(self) -> torch.Tensor:
        """`normals` as a torch tensor that shares its memory, `(H, W, 3)`."""
        import torch

        return torch.from_numpy(self.normals)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NormalMap):
            return NotImplemented
        return np.array_equal(self.normals, other.normals)

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds an array

    def __repr__(self) -> str:
        height, width = self.size
        return f"NormalMap({width}x{height} px, {', '.join(self.lines())}, index={self.index})"

    def to_dict(self) -> dict[str, Any]:
        """`{"normals": H lists of W lists of x, y and z}`."""
        return {"normals": self.normals.tolist()}

    def records(self) -> list[dict[str, Any]]:
        """One flat dict: the size, and the mean of the vectors, which is the shorter the more they differ."""
        height, width = self.size
        mean = dict(zip(("mean_x", "mean_y", "mean_z"), self._mean(), strict=True))
        return [{"width": width, "height": height, **mean}]

    def lines(self) -> list[str]:
        """A short text for a terminal: the mean of the vectors."""
        return [f"mean ({', '.join(f'{round(value, 2) + 0:.2f}' for value in self._mean())})"]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The map."""
        return {"normals": self.normals}

    def plot(self, image: Any) -> Image.Image:
        """Draws the map in its colours beside the picture.

        Args:
            image: the picture, in any form that the pipeline takes.

        Returns:
            An RGB picture; where both are wide, one is above the other.

        Raises:
            ValueError: a picture of another size.
        """
        return side_by_side(same_size(to_rgb(image), self.size), self.image)

    def save(self, path: str | os.PathLike[str], *, bits: int = 16) -> None:
        """Writes the colours as a PNG, the vectors exactly as an uncompressed `.npz`, or `to_dict()` as JSON.

        Args:
            path: where to.
            bits: of a PNG: 8 or 16. A level of n bits is `(x + 1) / 2 * (2**n - 1)`, rounded.

        Raises:
            ValueError: the path ends in neither `.png`, `.npz` nor `.json`, or other bits than a PNG has.
        """
        save_map(self, path, levels=self._levels, bits=bits)

    def _levels(self, bits: int) -> NDArray[Any]:
        """`(H, W, 3)` uint8 or uint16."""
        most = np.float32((1 << bits) - 1)
        levels = np.rint((self.normals.clip(-1, 1) + np.float32(1)) * (most / 2))
        return np.asarray(levels, np.uint8 if bits == 8 else np.uint16)

    def _mean(self) -> list[float]:
        mean: list[float] = self.normals.mean(axis=(0, 1), dtype=np.float64).tolist()
        return mean
