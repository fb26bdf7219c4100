"""A picture that a model has made of another."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.drawing import side_by_side, to_rgb
from sensorium.results.packed import Pixels
from sensorium.results.png import png
from sensorium.results.result import Result
from sensorium.results.saving import suffix_of, written_whole

if TYPE_CHECKING:
    from PIL import Image

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class OutputImage(Result):
    """A picture that a model has made of another: larger, or cleaner. It is grey, has alpha and 16 bit as that had.

    Attributes:
        array: `(H, W)` grey, or `(H, W, C)`: grey and alpha, RGB or RGBA, as C is 2, 3 or 4. uint8 in [0, 255], or
            uint16 in [0, 65535].
        index: the position of the input among the call's inputs.
    """

    __slots__ = ("array", "index")

    columns = (Pixels("array"),)

    def __init__(self, array: Any, *, index: int = 0) -> None:
        """Checks that the array is a picture.

        Raises:
            ValueError: it is of another shape or dtype.
        """
        pixels = np.asarray(array)
        shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (2, 3, 4))
        if not shaped or pixels.dtype not in (np.uint8, np.uint16) or not pixels.size:
            raise ValueError(
                f"a picture is an (H, W) or (H, W, C) array of uint8 or uint16 with 2 to 4 channels, got "
                f"{pixels.shape} {pixels.dtype}"
            )
        self.array: NDArray[Any] = pixels
        self.index = index

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), px."""
        return self.array.shape[0], self.array.shape[1]

    @property
    def mode(self) -> str:
        """`"L"`, `"LA"`, `"RGB"` or `"RGBA"`: what its channels are, as Pillow calls them."""
        return _MODES[1 if self.array.ndim == 2 else self.array.shape[2]]

    @property
    def bits(self) -> int:
        """8 or 16: how many each level has."""
        return 8 * self.array.itemsize

    @property
    def image(self) -> Image.Image:
        """The picture as Pillow has it, whose `mode` is this one's; 16-bit grey is `"I;16"`.

        Pillow has no mode for 16 bit in several channels: of these the image is rounded to 8. `array` and `save` are
        exact.
        """
        from PIL import Image

        deep = self.array.ndim == 3 and self.bits == 16
        return Image.fromarray(np.rint(self.array / 257).astype(np.uint8) if deep else self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OutputImage):
            return NotImplemented
        return self.array.dtype == other.array.dtype and np.array_equal(self.array, other.array)

    __hash__ = None  # type: ignore[assignment]  # compares by value and holds an array

    def __repr__(self) -> str:
        return f"OutputImage({', '.join(self.lines())}, index={self.index})"

    def to_dict(self) -> dict[str, Any]:
        """`{"image": "data:image/png;base64,…", "mode": …, "bits": …}`; the PNG holds the picture without loss.

        Transformers' pipeline gives a PIL picture, which no JSON holds; `image` is that.
        """
        encoded = base64.b64encode(png(self.array)).decode("ascii")
        return {"image": f"data:image/png;base64,{encoded}", "mode": self.mode, "bits": self.bits}

    def records(self) -> list[dict[str, Any]]:
        """What the picture is like: it is too large for a table of texts and numbers."""
        height, width = self.size
        return [{"width": width, "height": height, "mode": self.mode, "bits": self.bits}]

    def lines(self) -> list[str]:
        """A short text for a terminal: size, channels and bits."""
        height, width = self.size
        return [f"{width}x{height} px {self.mode}" + (" 16 bit" if self.bits == 16 else "")]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The picture."""
        return {"array": self.array}

    def plot(self, image: Any) -> Image.Image:
        """Draws the picture that it was made of beside it, at the same size, with its px as they are.

        Args:
            image: the picture, in any form that the pipeline takes.

        Returns:
            An RGB picture; where both are wide, one is above the other.
        """
        from PIL import Image

        before, after = to_rgb(image), to_rgb(self.image)
        return side_by_side(before.resize(after.size, Image.Resampling.NEAREST), after)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture as `.png`, `.tif` or `.tiff`, the array as `.npz`, or `to_dict()` as `.json`.

        All of them hold it exactly. Other formats lose something: `result.image.save("x.jpg", quality=95)`.

        Raises:
            ValueError: another suffix, or 16 bit in several channels as TIFF, which Pillow does not write.
        """
        suffix = suffix_of(path, (".png", ".tif", ".tiff", ".npz", ".json"), what="a result of the kind OutputImage")
        if suffix == ".json":
            super().save(path)
            return
        if suffix.startswith(".tif") and self.bits == 16 and self.array.ndim == 3:
            raise ValueError(f"{Path(path).name!r}: 16 bit in several channels is saved as .png or .npz, not as TIFF")
        with written_whole(path) as part, part.open("wb") as file:
            if suffix == ".png":
                file.write(png(self.array))
            elif suffix == ".npz":
                np.savez(file, allow_pickle=False, array=self.array)
            else:
                self.image.save(file, "TIFF")
