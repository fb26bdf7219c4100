"""Files of results that hold numbers for each pixel of a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.results.png import png
from sensorium.results.result import Result
from sensorium.results.saving import suffix_of, written_whole


def save_map(result: Result, path: str | os.PathLike[str], *, levels: Callable[[int], NDArray[Any]], bits: int) -> None:
    """Writes a PNG of 8 or 16 bits, the result's arrays exactly as an uncompressed `.npz`, or `to_dict()` as JSON.

    Args:
        result: what is saved.
        path: the file, written whole.
        levels: gives the PNG's uint8 or uint16 levels, of so many bits.
        bits: of a PNG, 8 or 16; 16, the default of those who call, for all else.

    Raises:
        ValueError: another suffix, or other bits.
    """
    suffix = suffix_of(path, (".png", ".npz", ".json"), what=f"a result of the kind {type(result).__name__}")
    if bits not in ((8, 16) if suffix == ".png" else (16,)):
        raise ValueError(f"bits is 8 or 16, and for a .png alone, got {bits!r} for {Path(path).name!r}")
    if suffix == ".json":
        Result.save(result, path)
        return
    with written_whole(path) as part, part.open("wb") as file:
        if suffix == ".png":
            file.write(png(levels(bits)))
        else:
            np.savez(file, allow_pickle=False, **result.arrays())
