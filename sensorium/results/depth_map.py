"""How far away each pixel of a picture is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import UnknownNameError
from sensorium.results.columns import Array, Scalar
from sensorium.results.drawing import beside, same_size, to_rgb
from sensorium.results.kinds import BOOL, FLOAT64
from sensorium.results.palette import shades
from sensorium.results.result import Result
from sensorium.results.saving import suffix_of, written_whole

if TYPE_CHECKING:
    import torch
    from PIL import Image

NEAREST_M, FARTHEST_M = 0.1, 250.0
"""Metres between which drawings tell distances apart, as Depth Pro's own do."""

_LEVELS = np.iinfo(np.uint16).max
_KEYS, _MEASURES = ("predicted_depth", "depth"), ("min", "median", "max")


class DepthMap(Result):
    """A number for each pixel: metres, or where the model gives none, a number that is larger the nearer it is.

    Read like Transformers' dict, `result["predicted_depth"]` is a tensor, and `result["depth"]` a grey picture.

    Attributes:
        depth: `(H, W)` float32 of the picture's size.
        metric: whether `depth` is in metres. If not, it is the inverse of a distance, but for a factor and an offset
            that differ from picture to picture.
        field_of_view: degrees that the picture's width spans; None where the model does not tell.
        focal_length: of the camera, px of the picture; None where it is not known.
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("depth", "field_of_view", "focal_length", "index", "metric")

    columns = (
        Array("depth"),
        Scalar("metric", BOOL),
        Scalar("field_of_view", FLOAT64, nullable=True),
        Scalar("focal_length", FLOAT64, nullable=True),
    )

    def __init__(
        self,
        depth: Any,
        metric: bool = False,
        field_of_view: float | None = None,
        focal_length: float | None = None,
        *,
        index: int = 0,
    ) -> None:
        """Checks that the numbers are a map.

        Raises:
            ValueError: the map is not `(H, W)` finite numbers, or the focal length is no finite number above 0.
        """
        array = np.asarray(depth, dtype=np.float32)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise ValueError(f"a depth map is an (H, W) array of finite numbers, got the shape {array.shape}")
        for name, value in (("field_of_view", field_of_view), ("focal_length", focal_length)):
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} is a finite number or None, got {value!r}")
        if focal_length is not None and focal_length <= 0:
            raise ValueError(f"focal_length is a number of px above 0, or None, got {focal_length!r}")
        self.depth: NDArray[np.float32] = array
        self.metric = bool(metric)
        self.field_of_view = None if field_of_view is None else float(field_of_view)
        self.focal_length = None if focal_length is None else float(focal_length)
        self.index = index

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture, px."""
        return self.depth.shape[0], self.depth.shape[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.depth, dtype=dtype, copy=copy)

    def torch(self) -> torch.Tensor:
        """`depth` as a torch tensor that shares its memory."""
        import torch

        return torch.from_numpy(self.depth)

    def __getitem__(self, key: str) -> Any:
        """`"predicted_depth"`, the map as a tensor; `"depth"`, the map as a grey picture of 256 levels.

        Raises:
            UnknownNameError: a KeyError, too: no such key.
        """
        if key not in _KEYS:
            raise UnknownNameError("key of a DepthMap", str(key), _KEYS)
        return self.torch() if key == "predicted_depth" else self._grey()

    def __contains__(self, key: object) -> bool:
        """Whether there is such a key."""
        return key in _KEYS

    def keys(self) -> list[str]:
        """The keys of Transformers' dict, so that `dict(result)` and `**result` work."""
        return list(_KEYS)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def get(self, key: str, default: Any = None) -> Any:
        """The entry of a key, or `default` where there is none."""
        return self[key] if key in _KEYS else default

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of key and entry."""
        return [(key, self[key]) for key in _KEYS]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DepthMap):
            return NotImplemented
        told = [(each.metric, each.field_of_view, each.focal_length) for each in (self, other)]
        return told[0] == told[1] and np.array_equal(self.depth, other.depth)

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds arrays

    def __repr__(self) -> str:
        height, width = self.size
        return f"DepthMap({width}x{height} px, {', '.join(self.lines())}, index={self.index})"

    def to_dict(self) -> dict[str, Any]:
        """`{"predicted_depth": H lists of W floats, "metric": bool, "field_of_view": …, "focal_length": …}`."""
        told = {name: getattr(self, name) for name in ("metric", "field_of_view", "focal_length")}
        return {"predicted_depth": self.depth.tolist(), **told}

    def records(self) -> list[dict[str, Any]]:
        """One flat dict: the size, the least, middle and largest depth, and what else is known; not the map."""
        height, width = self.size
        row: dict[str, Any] = {"width": width, "height": height, "metric": self.metric}
        found = [f(self.depth) for f in (np.min, np.median, np.max)] if self.depth.size else [None] * 3
        row |= {name: None if value is None else float(value) for name, value in zip(_MEASURES, found, strict=True)}
        return [row | {"field_of_view": self.field_of_view, "focal_length": self.focal_length}]

    def lines(self) -> list[str]:
        """Short texts for a terminal: the range, and the camera where it is known."""
        if not self.depth.size:
            return ["no pixels"]
        low, high = self.depth.min(), self.depth.max()
        lines = [f"{_said(low)} to {_said(high)} m" if self.metric else f"{_said(low)} (far) to {_said(high)} (near)"]
        lines += [] if self.field_of_view is None else [f"field of view {self.field_of_view:.1f}°"]
        return lines + ([] if self.focal_length is None else [f"focal length {self.focal_length:.0f} px"])

    def nearness(self) -> NDArray[np.float32]:
        """`(H, W)` float32, 1 for the nearest pixel and 0 for the farthest; 0 everywhere on a flat map.

        Of metres it is the inverse that counts, between 0.1 and 250 m, so that what is near is told apart.
        """
        if not self.metric:
            return _unit(self.depth)
        return _unit(np.reciprocal(self.depth.clip(NEAREST_M, FARTHEST_M), dtype=np.float32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The map."""
        return {"depth": self.depth}

    def plot(self, image: Any) -> Image.Image:
        """Draws the map beside the picture, bright where it is near, with a scale under both.

        The colours are told apart by their lightness, and equally well from dark to bright.

        Args:
            image: the picture, in any form that the pipeline takes.

        Returns:
            An RGB picture.

        Raises:
            ValueError: a picture of another size.
        """
        from PIL import Image

        canvas = same_size(to_rgb(image), self.size)
        near = self.depth.min() if self.metric else self.depth.max()
        far = self.depth.max() if self.metric else self.depth.min()
        unit = " m" if self.metric else ""
        ends = (f"far {_said(far)}{unit}", f"near {_said(near)}{unit}")
        return beside(canvas, Image.fromarray(shades(self.nearness())), ends)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the map as a grey PNG of 16 bits, all exactly as an uncompressed `.npz`, or `to_dict()` as JSON.

        In a PNG of metres a level is a millimetre, from 0 to 65,535, which is 65.535 m or more. Else 0 is the least and
        65,535 the largest number of the map. The PNG's texts `scale` and `offset` say the same: a depth is
        `level * scale + offset`.

        Raises:
            ValueError: the path ends in neither `.png`, `.npz` nor `.json`.
        """
        suffix = suffix_of(path, (".png", ".npz", ".json"), what="a result of the kind DepthMap")
        if suffix == ".json":
            super().save(path)
        elif suffix == ".png":
            self._save_png(path)
        else:
            told = {"field_of_view": self.field_of_view, "focal_length": self.focal_length}
            known = {name: np.float64(value) for name, value in told.items() if value is not None}
            with written_whole(path) as part, part.open("wb") as file:  # NumPy would add its own suffix to a name
                np.savez(file, allow_pickle=False, depth=self.depth, metric=np.bool_(self.metric), **known)

    def _save_png(self, path: str | os.PathLike[str]) -> None:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        low, high = (0.0, _LEVELS / 1000) if self.metric else (float(self.depth.min()), float(self.depth.max()))
        scale = (high - low) / _LEVELS
        levels = (self.depth.astype(np.float64) - low) / (scale or 1.0)
        told = PngInfo()
        for name, value in {"scale": scale, "offset": low, "metric": self.metric}.items():
            told.add_text(name, repr(value))
        with written_whole(path) as part:
            Image.fromarray(levels.round().clip(0, _LEVELS).astype(np.uint16)).save(part, "PNG", pnginfo=told)

    def _grey(self) -> Image.Image:
        """What Transformers' pipeline calls `depth`; black where a flat map leaves it nothing to divide by."""
        from PIL import Image

        return Image.fromarray((_unit(self.depth) * 255).astype(np.uint8))


def _said(value: Any) -> str:
    """A number to three digits, and to whole ones from 1,000."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values from 0 to 1, the least and the largest; 0 where all are alike."""
    low, high = values.min(), values.max()
    span = high - low
    return np.asarray((values - low) / span if span > 0 else np.zeros_like(values))
