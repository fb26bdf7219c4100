"""Arrays in files, read only where the file holds what its header claims."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def read_array(path: Path, *, mmap: bool = False) -> NDArray[Any]:
    """An array from an `.npy` file that is as long as its header says.

    Args:
        path: the file.
        mmap: whether it stays on disk until it is looked at; what is written into it goes nowhere.

    Raises:
        ValueError: it is no such file, or longer or shorter.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(file)
        size = math.prod(int(side) for side in shape) * kind.itemsize
        found = path.stat().st_size - file.tell()
    if kind.hasobject or any(side < 0 for side in shape) or size != found:
        raise ValueError(f"{path.name} should hold {size:,} bytes of {kind} {shape}, and holds {found:,}")
    array: NDArray[Any] = np.load(path, allow_pickle=False, mmap_mode="c" if mmap and size else None)
    return array
