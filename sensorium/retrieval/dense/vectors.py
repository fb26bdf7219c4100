"""Vectors as they come in: checked, float32, and of length one where that is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.errors import InputError

BLOCK = 65_536
"""Rows that are checked at a time, so that no copy of the whole is made."""


def as_vectors(vectors: Any, *, width: int | None = None) -> NDArray[np.float32]:
    """`(N, D)` float32 vectors, C-contiguous; not copied where they are that already.

    Raises:
        InputError: `bad-vectors`: another shape or width, no vectors, or values that are not finite.
    """
    array = _array(vectors)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"expected vectors (N, D), got the shape {array.shape}", code="bad-vectors")
    if width is not None and array.shape[1] != width:
        raise InputError(f"expected vectors of {width} dimensions, got {array.shape[1]}", code="bad-vectors")
    checked = np.ascontiguousarray(array, dtype=np.float32) if array.dtype != np.float32 else array
    checked = checked if checked.flags.c_contiguous else np.ascontiguousarray(checked)
    for start in range(0, len(checked), BLOCK):
        finite = np.isfinite(checked[start : start + BLOCK]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise InputError(f"expected finite vectors, got NaN or infinity in row {row}", code="bad-vectors")
    return checked


def as_queries(vectors: Any, *, width: int) -> NDArray[np.float32]:
    """`(Q, D)` float32 vectors of queries; one vector `(D,)` is one query.

    Raises:
        InputError: as `as_vectors`.
    """
    array = _array(vectors)
    if array.ndim == 2 and len(array) == 0 and array.shape[1] == width:
        return np.empty((0, width), np.float32)
    return as_vectors(array[None] if array.ndim == 1 else array, width=width)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy in which each row has the length one; a row of zeros stays zero."""
    unit = np.array(vectors)
    for start in range(0, len(unit), BLOCK):
        rows = unit[start : start + BLOCK]
        norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        rows /= np.where(norms > 0, norms, 1)
    return unit


def _array(vectors: Any) -> Any:
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().float().cpu().numpy()
    try:
        array = np.asanyarray(vectors)
    except ValueError as error:
        raise InputError(
            f"expected vectors (N, D), got lists of different lengths or depths: {error}", code="bad-vectors"
        ) from error
    if array.dtype.kind not in "fiu":
        raise InputError(f"expected vectors of numbers, got an array of {array.dtype}", code="bad-vectors")
    return array
