"""Arrays in files, read only where the file holds what its header claims."""

from __future__ import annotations

import math
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

# NumPy reads a header as a literal of Python, by Python's parser and, where that fails, its tokenizer.
_UNREAD = (SyntaxError, TokenError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError, Warning)


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
        shape, kind = _header(file, path.name)
        size = math.prod(int(side) for side in shape) * kind.itemsize
        found = path.stat().st_size - file.tell()
    if kind.hasobject or any(side < 0 for side in shape) or size != found:
        raise ValueError(f"{path.name} should hold {size:,} bytes of {kind} {shape}, and holds {found:,}")
    array: NDArray[Any] = np.load(path, allow_pickle=False, mmap_mode="c" if mmap and size else None)
    return array


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type, as the header of a file has them; it is left behind the header."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(file)
    except _UNREAD as error:
        raise ValueError(f"{name} has a header that is none of an array ({type(error).__name__}: {error})") from error
    return shape, kind
